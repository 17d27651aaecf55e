# row:    C5
# expect: Exited(0)
# stdout~: x+
# limits: stdout=64KiB
# why:    the cap itself is allowed: only one byte more is too much
import os

os.write(1, b"x" * 65536)
