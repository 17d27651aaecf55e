# row:    C3, C6
# expect: Exited(0) | Limit(memory)
# stdout~: (contained\n)?
# limits: memory=128MiB scratch=96MiB
# why:    a tmpfs is memory: its files count, or are few
import os

written = 0
for place in ("/dev/shm", "/tmp", ".", "/mnt"):
    for number in range(100):
        try:
            with open(os.path.join(place, f"file{number}"), "wb", buffering=0) as file:
                for _ in range(8):
                    written += file.write(b"x" * (1 << 20))
        except OSError:
            break
mib = written >> 20
print("contained" if mib <= 97 else f"ESCAPED: {mib} MiB")
