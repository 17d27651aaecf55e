# row:    D4, C1
# expect: Exited(0)
# stdout: main
# limits: wall=10s
# usage:  wall<=5s
# wasm:   raises AttributeError: module 'os' has no attribute 'fork'
# why:    twenty processes that each fork themselves away: always on the move, never where the kill lands
import os
import time

for _ in range(20):
    try:
        child = os.fork()
    except OSError:
        continue  # The comets that fly already fill the task limit now and then.
    if child == 0:
        os.setsid()
        while True:
            try:
                if os.fork() != 0:
                    os._exit(0)
            except OSError:
                pass
time.sleep(0.3)
print("main", flush=True)
os._exit(0)
