# row:    C6
# expect: Exited(0)
# stdout: contained
# wasm:   raises OSError: [Errno 58] Not supported: this interpreter has no socket
# why:    descriptors sent and never received are held by nobody, and bounded all the same
import array
import os
import socket

sent = 0
pairs = [socket.socketpair() for _ in range(50)]
null = os.open("/dev/null", os.O_RDONLY)
rights = array.array("i", [null] * 250)
for one, other in pairs:
    one.setblocking(False)
    try:
        while sent < 100000:
            one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            sent += len(rights)
    except OSError:
        pass
print("contained" if sent < 100000 else f"ESCAPED: {sent} in flight")
