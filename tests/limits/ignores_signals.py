# row:    D3
# expect: Limit(wall_time)
# limits: wall=500ms
# usage:  wall<=5s
# why:    every signal that can be ignored is, and handlers return at once
import signal
import time

for number in range(1, 65):
    try:
        signal.signal(number, lambda *_: None)
    except (OSError, ValueError):
        pass
while True:
    time.sleep(100)
