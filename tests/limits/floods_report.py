# row:    C5, A10
# expect: Exited(0) | Signaled(SIGPIPE)
# report~: x+
# limits: wall=20s
# why:    a flood in a harness's pipe is drained and cut, like any other
import os

for _ in range(1024):
    os.write(3, b"x" * 65536)
