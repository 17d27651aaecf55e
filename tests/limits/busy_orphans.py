# row:    D2, D4
# expect: Limit(cpu_time) | Limit(wall_time)
# limits: wall=4s cpu=1s
# wasm:   raises AttributeError: module 'os' has no attribute 'fork'
# why:    nor do orphans that nobody of the run waits for go uncounted for ever
import os
import time

while True:
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            until = time.process_time() + 0.05
            while time.process_time() < until:
                pass
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(0.03)
