# row:    C7
# expect: Exited(0) | Limit(memory) | Limit(wall_time) | Limit(cpu_time)
# stdout~: (contained\n)?
# limits: memory=128MiB wall=4s
# wasm:   raises ModuleNotFoundError: No module named 'mmap'
# why:    each mapping is kernel memory: the address space bounds how many there can be
import mmap

maps = []
try:
    while len(maps) < 70000:
        maps.append(mmap.mmap(-1, 4096, prot=mmap.PROT_READ if len(maps) % 2 else mmap.PROT_READ | mmap.PROT_WRITE))
except (OSError, MemoryError, ValueError):
    pass
print("contained" if len(maps) < 70000 else "ESCAPED")
