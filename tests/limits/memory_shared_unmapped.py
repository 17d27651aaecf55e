# row:    C3, C4
# expect: Exited(0) | Limit(memory)
# stdout~: (contained\n)?
# limits: memory=128MiB
# wasm:   raises ModuleNotFoundError: No module named 'mmap'
# why:    shared memory written by children that map it one after the other is in no process's size
import mmap
import os

areas = []
got = 0
try:
    for _ in range(64):
        area = mmap.mmap(-1, 8 << 20)
        areas.append(area)
        if os.fork() == 0:
            try:
                area.write(b"x" * (8 << 20))
                os._exit(0)
            finally:
                os._exit(1)
        if os.wait()[1] == 0:
            got += 8
except (OSError, MemoryError):
    pass
print("contained" if got <= 192 else f"ESCAPED: {got} MiB")
