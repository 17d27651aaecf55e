# row:    C6
# expect: Exited(0)
# stdout: contained
# limits: wall=20s
# why:    empty files take no space but kernel memory each: their number is bounded
import os

made = 0
for place in ("/tmp", ".", "/dev/shm", "/mnt"):
    try:
        for number in range(30000):
            os.close(os.open(os.path.join(place, f"f{number}"), os.O_CREAT | os.O_WRONLY))
            made += 1
    except OSError:
        pass
    try:
        for number in range(30000):
            os.symlink("x", os.path.join(place, f"l{number}"))
            made += 1
    except OSError:
        pass
print("contained" if made <= 10000 else f"ESCAPED: {made} files")
