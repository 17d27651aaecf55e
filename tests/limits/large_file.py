# row:    C6
# expect: Exited(0) | Limit(memory)
# stdout~: (contained\n)?
# limits: file_size=16MiB
# why:    one file ends at its limit with an ordinary exception, written or only claimed to be long
import os

found = []
with open("large", "wb", buffering=0) as file:
    written = 0
    try:
        while written < 64 << 20:
            written += file.write(b"x" * (1 << 20))
        found.append(f"wrote {written >> 20} MiB")
    except OSError:
        pass
for size in (32 << 20, 1 << 40, (1 << 63) - 1):
    try:
        os.truncate("large", size)
        found.append(f"truncated to {size}")
    except OSError:
        pass
    try:
        with open("sparse", "wb") as file:
            file.seek(size - 1)
            file.write(b"x")
        found.append(f"sparse file of {size}")
    except OSError:
        pass
    try:
        os.posix_fallocate(os.open("allocated", os.O_CREAT | os.O_RDWR), 0, size)
        found.append(f"allocated {size}")
    except OSError:
        pass
print(f"ESCAPED: {found}" if found else "contained")
