# row:    D8, A10
# expect: Exited(3)
# stdout~: .*
# limits: wall=10s
# wasm:   raises FileNotFoundError: [Errno 44] No such file or directory: '/proc/self/fd'
# why:    forged messages on every descriptor there may be do not change how the run ended
import os

forged = [b'{"outcome":{"kind":"exited","code":0}}\n', b"\0" * 64, b"\x01\0\0\0" * 16, b"\xff" * 64, b"contained\n"]
for fd in [fd for fd in range(1024) if fd not in (1, 2)] + [1, 2]:
    for message in forged:
        try:
            os.write(fd, message)
        except OSError:
            pass
for name in os.listdir("/proc/self/fd"):
    for flags in (os.O_WRONLY | os.O_NONBLOCK, os.O_RDWR | os.O_NONBLOCK):
        try:
            fd = os.open(f"/proc/self/fd/{name}", flags)
            os.write(fd, forged[0])
        except OSError:
            pass
os._exit(3)
