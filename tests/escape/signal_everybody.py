# row:    B5, D11
# expect: Exited(0) | Signaled(SIGKILL) | Limit(wall_time)
# stdout~: (contained\n)?
# limits: wall=2s
# wasm:   raises AttributeError: module 'os' has no attribute 'fork'
# why:    kill(-1) and kill(0), in a loop, from a child: at most the run itself ends, or stands still to its limit
import os
import signal
import time

if os.fork() == 0:
    for _ in range(200):
        for pid in (-1, -2, -3, -os.getpgrp()):
            try:
                os.kill(pid, signal.SIGSTOP)
                os.kill(pid, signal.SIGCONT)
            except OSError:
                pass
    os.kill(-1, signal.SIGKILL)
    os._exit(0)
time.sleep(0.5)
print("contained")
