# row:    B1
# expect: Exited(0)
# stdout: contained
# args:   {host}
# why:    two runs at the same time have two scratch spaces
import json
import os
import sys
import time

mark = json.loads(sys.argv[1])["mark"]
for place in (".", "/tmp", "/dev/shm", "/mnt"):
    open(os.path.join(place, mark), "w").write("planted")
time.sleep(1)
# --- beside it, in another run ---
import os

found = [place for place in (".", "/tmp", "/dev/shm", "/mnt") if set(os.listdir(place)) - {"main.py"}]
print(f"ESCAPED: {found}" if found else "contained")
