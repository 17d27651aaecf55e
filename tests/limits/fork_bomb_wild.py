# row:    C1, D4
# expect: Limit(wall_time) | Limit(cpu_time) | Exited(0) | Exited(1)
# limits: wall=1s
# why:    every process forks for ever and never waits: held at the limit, and all gone with the run
import os

while True:
    try:
        os.fork()
    except OSError:
        pass
