# row:    D10, C1
# expect: Exited(0)
# first:  Limit(wall_time) | Limit(cpu_time) | Limit(memory) | Exited(1)
# stdout: 42
# stdin:  20 3 19\n
# limits: wall=2s memory=128MiB
# why:    beside a flood of processes an ordinary program gets its right answer in time
import os

for _ in range(4):
    os.fork()
while True:
    try:
        if os.fork() == 0:
            os._exit(0)
        os.waitpid(-1, os.WNOHANG)
    except OSError:
        pass
# --- beside it, in another run ---
print(sum(map(int, input().split())))
