# row:     A1, E1
# expect:  Exited(0)
# stdout:  done
# collect: plain.txt shadow.txt secret.txt folder/shadow environ.txt self.txt loop.txt hard.txt
# collected: plain.txt
# args:    {host}
# why:     files are read back without following a single link that the program has planted
import json
import os
import sys

secret = json.loads(sys.argv[1])["secrets"][0]
open("plain.txt", "w").write("mine")
os.symlink("/etc/shadow", "shadow.txt")
os.symlink(secret, "secret.txt")
os.symlink("/etc", "folder")
os.symlink("/proc/self/environ", "environ.txt")
os.symlink("plain.txt", "self.txt")
os.symlink("loop.txt", "loop.txt")
try:
    os.link("/etc/passwd", "hard.txt")
except OSError:
    pass
print("done")
