# row:    C3
# expect: Exited(0) | Limit(memory)
# stdout~: (contained\n)?
# limits: memory=128MiB
# wasm:   raises ModuleNotFoundError: No module named 'mmap'
# why:    shared anonymous memory is no data segment: the limit on that would not see it
import mmap

maps = []
try:
    for _ in range(256):
        area = mmap.mmap(-1, 8 << 20)
        area.write(b"x" * (8 << 20))
        maps.append(area)
except (OSError, MemoryError, ValueError):
    pass
got = 8 * len(maps)
print("contained" if got <= 144 else f"ESCAPED: {got} MiB")
