# row:    C3
# expect: Exited(0) | Limit(memory)
# stdout~: (contained\n)?
# limits: memory=128MiB
# wasm:   raises AttributeError: module 'os' has no attribute 'memfd_create'
# why:    memory files belong to no mount and to no process's size; they exist only where a cgroup counts them
import os

got = 0
files = []
try:
    for number in range(200):
        fd = os.memfd_create(str(number))
        files.append(fd)
        for _ in range(32):
            got += os.write(fd, b"x" * (1 << 20))
except OSError:
    pass
print("contained" if got >> 20 <= 141 else f"ESCAPED: {got >> 20} MiB")
