# row:    D3, D4
# expect: Limit(wall_time) | Limit(cpu_time)
# limits: wall=1s
# usage:  wall<=5s
# wasm:   raises AttributeError: module 'os' has no attribute 'fork'
# why:    the same at the wall limit, where somebody has to kill all of them
import os
import time

for _ in range(10):
    try:
        child = os.fork()
    except OSError:
        continue  # As there.
    if child == 0:
        os.setsid()
        while True:
            try:
                if os.fork() != 0:
                    os._exit(0)
            except OSError:
                pass
time.sleep(1000)
