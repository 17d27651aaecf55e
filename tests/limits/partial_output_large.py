# row:    D6
# expect: Limit(wall_time)
# stdout~: x+y
# usage:  stdout_total>=500001
# limits: wall=1s
# why:    the same when it is more than a pipe holds
import os
import time

for _ in range(50):
    os.write(1, b"x" * 10000)
os.write(1, b"y")
time.sleep(1000)
