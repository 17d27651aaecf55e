# row:    D10, C5
# expect: Exited(0)
# first:  Limit(wall_time) | Limit(cpu_time) | Limit(memory) | Exited(1)
# stdout: 42
# stdin:  20 3 19\n
# limits: wall=2s memory=128MiB
# why:    beside a flood of output an ordinary program gets its right answer in time
import os

while True:
    os.write(2, b"x" * 65536)
# --- beside it, in another run ---
print(sum(map(int, input().split())))
