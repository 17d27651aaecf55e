# row:    C3, C4
# expect: Exited(0) | Limit(memory)
# stdout~: (contained\n)?
# limits: memory=128MiB
# wasm:   raises ModuleNotFoundError: No module named 'mmap'
# why:    the same with memory that each of the twelve shares with nobody that still looks at it
import mmap
import os
import signal
import time

read, write = os.pipe()
for _ in range(12):
    if os.fork() == 0:
        areas = []
        try:
            while len(areas) < 120:
                area = mmap.mmap(-1, 1 << 20)
                area.write(b"x" * (1 << 20))
                areas.append(area)
                os.write(write, b"x")
        except (OSError, MemoryError, ValueError):
            pass
        signal.pause()
time.sleep(1.5)
os.set_blocking(read, False)
got = len(os.read(read, 10000))
print("contained" if got <= 192 else f"ESCAPED: {got} MiB")
