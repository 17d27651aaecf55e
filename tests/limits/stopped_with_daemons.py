# row:    D3, D4
# expect: Limit(wall_time)
# limits: wall=500ms
# usage:  wall<=5s
# wasm:   raises AttributeError: module 'os' has no attribute 'fork'
# why:    main stopped, children in sessions of their own, some stopped, some ignoring everything
import os
import signal

for number in range(4):
    if os.fork() == 0:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        if number % 2:
            os.kill(os.getpid(), signal.SIGSTOP)
        while True:
            signal.pause()
os.kill(os.getpid(), signal.SIGSTOP)
