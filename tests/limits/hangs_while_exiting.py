# row:    D1
# expect: Limit(wall_time)
# stdout: done
# limits: wall=500ms
# usage:  wall<=5s
# why:    the end of a program is the end of its process, not of its last line
import atexit
import time

atexit.register(time.sleep, 1000)
print("done", flush=True)
