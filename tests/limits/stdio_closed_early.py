# row:    D5
# expect: Exited(7)
# stdout: before
# stdin:  never read\n
# limits: wall=10s
# why:    pipes closed by the program are not the end of the program
import os
import time

print("before", flush=True)
os.closerange(0, 3)
time.sleep(0.3)
os._exit(7)
