# row:    C5, D4
# expect: Exited(0)
# stdout~: x*
# limits: wall=10s stdout=1MiB
# usage:  wall<=5s
# wasm:   raises AttributeError: module 'os' has no attribute 'fork'
# why:    children that go on writing after the main process has ended are ended, not waited for
import os

for _ in range(4):
    if os.fork() == 0:
        try:
            while True:
                os.write(2, b"x" * 4096)
        except OSError:
            os._exit(0)
os._exit(0)
