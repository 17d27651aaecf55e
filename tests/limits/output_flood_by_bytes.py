# row:    C5
# expect: Limit(output) | Limit(wall_time) | Limit(cpu_time)
# limits: wall=3s stdout=64KiB
# why:    one byte at a time costs the reader most; it still reads, and still stops at the cap
import os

while True:
    os.write(1, b"x")
