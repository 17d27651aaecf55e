# why: clocks begin with the run, and sleeping moves them at once
# expect: exit 0
import os
import time
print(time.process_time() < 0.5, os.times().user < 0.5)
before = time.time(), time.monotonic(), time.perf_counter()
time.sleep(2)
print([round(now - then) for now, then in zip((time.time(), time.monotonic(), time.perf_counter()), before)])
print(time.process_time() < 0.5)
# stdout: True True
# stdout: [2, 2, 2]
# stdout: True
