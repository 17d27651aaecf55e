# row:    D9
# expect: Exited(0)
# limits: wall=100s
# kill:   supervisor
# why:    the run ends with the process that watches it, whatever it does against that
import os
import signal
import time

signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        while True:
            time.sleep(1)
open("/tmp/codejury-hostile-mark", "w").write("x" * 1000000)
while True:
    time.sleep(1)
