# row:    D2
# expect: Limit(cpu_time)
# limits: wall=15s cpu=1s
# usage:  cpu<=4s wall<=14s
# wasm:   raises AttributeError: module 'os' has no attribute 'fork'
# why:    children that end before they are noticed have used their time all the same
import os
import time

while True:
    child = os.fork()
    if child == 0:
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
        os._exit(0)
    os.waitpid(child, 0)
