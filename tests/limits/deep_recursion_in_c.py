# row:    D3, C2
# expect: Signaled(SIGSEGV) | Exited(0) | Exited(1) | Limit(memory)
# stdout~: (True\n)?
# limits: memory=512MiB
# wasm:   Limit(cpu_time)
# why:    a stack that runs out below Python ends the run with the truth about it, and nothing else
import sys

sys.setrecursionlimit(1 << 30)
one, other = [], []
for _ in range(2_000_000):
    one, other = [one], [other]
print(one == other)
