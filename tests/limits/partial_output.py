# row:    D6
# expect: Limit(wall_time)
# stdout: partial
# stderr: also this
# limits: wall=700ms
# why:    what was flushed before the limit is delivered
import sys
import time

print("partial", flush=True)
print("also this", file=sys.stderr, flush=True)
time.sleep(1000)
