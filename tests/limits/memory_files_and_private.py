# row:    C3
# expect: Exited(0) | Limit(memory)
# stdout~: (contained\n)?
# limits: memory=128MiB scratch=96MiB
# why:    both together stay near one limit, not two
import os

files = private = 0
try:
    for number in range(100):
        with open(f"/dev/shm/{number}", "wb", buffering=0) as file:
            files += file.write(b"x" * (1 << 20))
except OSError:
    pass
blocks = []
try:
    while len(blocks) < 1000:
        blocks.append(bytearray(1 << 20))
except MemoryError:
    pass
private = len(blocks)
del blocks
total = (files >> 20) + private
print("contained" if total <= 192 else f"ESCAPED: {total} MiB")
