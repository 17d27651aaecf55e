# row:    A1
# expect: Exited(0)
# stdout: contained
# args:   {host}
# why:    neither dots, nor magic links, nor a descriptor of the root lead above the root
import json
import os
import sys

host = json.loads(sys.argv[1])
root = os.stat("/")
ways = {}
up = os.open(".", os.O_RDONLY)
for _ in range(64):
    higher = os.open("..", os.O_RDONLY, dir_fd=up)
    os.close(up)
    up = higher
ways["dots"] = up
for link in ("/proc/self/root", "/proc/thread-self/root", "/proc/self/task/%d/root" % os.getpid(), "/proc/self/root/.."):
    try:
        ways[link] = os.open(link, os.O_RDONLY)
    except OSError:
        pass
found = []
for way, fd in ways.items():
    here = os.fstat(fd)
    if (here.st_dev, here.st_ino) != (root.st_dev, root.st_ino):
        found.append(f"{way} leads to another root: {os.listdir(fd)}")
    for secret in host["secrets"]:
        try:
            os.open(secret.lstrip("/"), os.O_RDONLY, dir_fd=fd)
            found.append(f"{way}: {secret}")
        except OSError:
            pass
print(f"ESCAPED: {found}" if found else "contained")
