# row:    D10, C2
# expect: Exited(0)
# first:  Limit(wall_time) | Limit(cpu_time) | Limit(memory) | Exited(1)
# stdout: 42
# stdin:  20 3 19\n
# limits: wall=2s memory=128MiB
# why:    beside a flood of memory an ordinary program gets its right answer in time
import os

blocks = []
while True:
    try:
        blocks.append(bytearray(1 << 20))
    except MemoryError:
        blocks.clear()
# --- beside it, in another run ---
print(sum(map(int, input().split())))
