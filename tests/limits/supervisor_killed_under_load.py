# row:    D9, C1
# expect: Exited(0)
# limits: wall=100s
# kill:   supervisor
# why:    the same in the middle of a fork bomb with a flood of output
import os

for _ in range(6):
    try:
        os.fork()
    except OSError:
        pass
while True:
    try:
        if os.fork() == 0:
            os._exit(0)
        os.write(2, b"x" * 4096)
    except OSError:
        pass
