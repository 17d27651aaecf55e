# row:    C7
# expect: Exited(0) | Limit(memory) | Limit(wall_time) | Limit(cpu_time)
# stdout~: (contained\n)?
# limits: memory=128MiB wall=2s
# why:    names that do not exist are remembered by the kernel: the wall limit bounds how many
import os

for number in range(10_000_000):
    os.path.exists(f"/tmp/{number:0240d}")
