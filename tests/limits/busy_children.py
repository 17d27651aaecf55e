# row:    D2
# expect: Limit(cpu_time)
# limits: wall=10s cpu=1s
# usage:  cpu<=4s wall<=9s
# wasm:   raises AttributeError: module 'os' has no attribute 'fork'
# why:    the limit is on the run, not on each of its processes
import os

for _ in range(3):
    if os.fork() == 0:
        break
while True:
    pass
