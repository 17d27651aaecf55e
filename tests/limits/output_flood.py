# row:    C5
# expect: Limit(output)
# stdout~: x+
# limits: wall=10s stdout=1MiB
# why:    output over its cap ends the run; the reader keeps no more than the cap
import sys

while True:
    sys.stdout.write("x" * 100000)
