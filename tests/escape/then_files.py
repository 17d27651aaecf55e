# row:    B1, warm
# expect: Exited(0)
# stdout: contained
# args:   {host}
# wasm:   Exited(0)
# why:    what one run writes no other run finds
import json
import os
import sys

mark = json.loads(sys.argv[1])["mark"]
for place in (".", "/tmp", "/var/tmp", "/dev/shm", "/mnt", os.environ["HOME"], os.environ["TMPDIR"], "/run", "/dev/mqueue"):
    path = os.path.join(place, mark)
    try:
        open(path, "w").write("planted")
        os.mkdir(path + "-folder")
        os.symlink("/", path + "-link")
        os.mkfifo(path + "-fifo")
    except OSError:
        pass
print("planted")
# --- then, in the next run ---
import json
import os
import sys

mark = json.loads(sys.argv[1])["mark"]
found = []
places = {".", "/tmp", "/var/tmp", "/dev/shm", "/mnt", os.environ["HOME"], os.environ["TMPDIR"], "/run", "/dev/mqueue", "/"}
for place in places:
    if os.path.isdir(place):
        found += [os.path.join(place, name) for name in os.listdir(place) if name.startswith(mark)]
for place in (".", "/tmp", "/dev/shm", "/mnt"):
    others = set(os.listdir(place)) - {"main.py"}
    if others:
        found.append(f"{place} holds {others}")
print(f"ESCAPED: {found}" if found else "contained")
