# row:    B1, warm
# expect: Exited(0)
# stdout: contained
# args:   {before}
# why:    files made and removed again leave times behind: a message for the next run
import os

for place in (".", "/tmp", "/dev/shm", "/mnt"):
    for name in ("one", "two"):
        open(os.path.join(place, name), "w").close()
        os.unlink(os.path.join(place, name))
print([(os.stat(place).st_ctime_ns, os.stat(place).st_mtime_ns) for place in (".", "/tmp", "/dev/shm", "/mnt")])
# --- then, in the next run ---
import os
import sys

now = [(os.stat(place).st_ctime_ns, os.stat(place).st_mtime_ns) for place in (".", "/tmp", "/dev/shm", "/mnt")]
before = __import__("ast").literal_eval(sys.argv[1])
found = [times for times, earlier in zip(now, before) if times[0] == earlier[0] or times[1] == earlier[1]]
print(f"ESCAPED: {found}" if found else "contained")
