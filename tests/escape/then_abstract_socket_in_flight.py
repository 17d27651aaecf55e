# row:    A8, B6, warm
# expect: Exited(0)
# stdout: contained
# wasm:   raises FileNotFoundError: [Errno 44] No such file or directory: '/proc/net/unix'
# why:    a listening socket sent through itself lives without any process, and answers the next run
import array
import os
import socket

kept, other = socket.socketpair(socket.AF_UNIX)
listener = socket.socket(socket.AF_UNIX)
listener.bind("\0planted")
listener.listen(5)
rights = array.array("i", [kept.fileno(), other.fileno(), listener.fileno()])
kept.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
other.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
print("planted", flush=True)
os._exit(0)
# --- then, in the next run ---
import socket

found = []
try:
    socket.socket(socket.AF_UNIX).connect("\0planted")
    found.append("connected")
except OSError:
    pass
try:
    socket.socket(socket.AF_UNIX).bind("\0planted")
except OSError as error:
    found.append(f"the name is taken: {error}")
if "@planted" in open("/proc/net/unix").read():
    found.append("it is listed")
print(f"ESCAPED: {found}" if found else "contained")
