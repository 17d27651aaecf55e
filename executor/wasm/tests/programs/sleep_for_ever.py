# why: sleeping costs wall time of the virtual clock, and nobody waits
# expect: limit wall_time
import time

while True:
    time.sleep(3600)
