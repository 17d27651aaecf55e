# row:    C6
# expect: Exited(0) | Limit(memory)
# stdout~: (contained\n)?
# limits: scratch=64MiB
# why:    all writable places share one space, and it is small
import os

written = 0
for place in ("/tmp", ".", "/dev/shm", "/mnt", "/var/tmp", os.environ["HOME"]):
    for number in range(20):
        try:
            with open(os.path.join(place, f"file{number}"), "wb", buffering=0) as file:
                for _ in range(16):
                    written += file.write(b"x" * (1 << 20))
        except OSError:
            pass
print("contained" if written >> 20 <= 64 else f"ESCAPED: {written >> 20} MiB")
