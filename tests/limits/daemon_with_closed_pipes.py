# row:    D4
# expect: Exited(0)
# limits: wall=10s
# usage:  wall<=5s
# wasm:   raises AttributeError: module 'os' has no attribute 'fork'
# why:    a daemon that has let go of everything is not forgotten either
import os
import time

if os.fork() == 0:
    os.setsid()
    os.closerange(0, 256)
    os.chdir("/")
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(0)
time.sleep(0.1)
