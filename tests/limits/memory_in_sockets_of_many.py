# row:    C3, C4
# expect: Exited(0) | Limit(memory)
# stdout~: (contained\n)?
# limits: memory=128MiB
# wasm:   raises AttributeError: module 'os' has no attribute 'pipe'
# why:    a few megabytes in the sockets of each process add up like any other memory
import os
import signal
import socket
import time

read, write = os.pipe()
for _ in range(20):
    if os.fork() == 0:
        pairs = []
        try:
            while True:
                one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                pairs.append((one, other))
                for end in (one, other):
                    end.setblocking(False)
                    try:
                        while True:
                            os.write(write, b"%9d" % end.send(b"x" * 65536))
                    except BlockingIOError:
                        pass
        except OSError:
            pass
        signal.pause()
got = 0
os.set_blocking(read, False)
until = time.monotonic() + 2
while time.monotonic() < until:
    try:
        got += int(os.read(read, 9))
    except BlockingIOError:
        time.sleep(0.01)
print("contained" if got >> 20 <= 192 else f"ESCAPED: {got >> 20} MiB")
