# row:    A2
# expect: Exited(0)
# stdout: contained
# wasm:   raises AttributeError: module 'os' has no attribute 'getresuid'
# why:    no id inside stands for the host's root, so a hole in the file layers still meets an ordinary user
import os

found = []
if 0 in (*os.getresuid(), *os.getresgid(), *os.getgroups()):
    found.append(f"ids {os.getresuid()} {os.getresgid()} {os.getgroups()}")
for name in ("uid_map", "gid_map"):
    for line in open("/proc/self/" + name):
        inside, outside, count = map(int, line.split())
        if outside == 0 or count > 1:
            found.append(f"{name}: {line.strip()}")
print(f"ESCAPED: {found}" if found else "contained")
