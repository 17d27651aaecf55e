# row:    C5, D1
# expect: Limit(wall_time) | Limit(cpu_time)
# limits: wall=1s
# usage:  wall<=6s
# why:    while bytes pour in on standard error the timer still fires
import os

while True:
    os.write(2, b"x" * 65536)
