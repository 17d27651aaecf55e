# row:    C5
# expect: Exited(0)
# stdout: contained
# stderr~: (?s:begin.*end)
# usage:  stderr_total>=64MiB
# limits: wall=20s
# why:    a flood on standard error is drained and counted, its begin and end are kept, and it is not fatal
import os

os.write(2, b"begin")
for _ in range(1024):
    os.write(2, b"x" * 65536)
os.write(2, b"end")
print("contained")
