# row:    D4
# expect: Exited(5)
# stdout: main
# limits: wall=10s
# usage:  wall<=5s
# wasm:   raises AttributeError: module 'os' has no attribute 'fork'
# why:    the answer comes when the main process ends, though daemons hold its pipes; they are dead by then
import os
import signal
import time

for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
            while True:
                time.sleep(100)
        os._exit(0)
time.sleep(0.2)
print("main", flush=True)
os._exit(5)
