# row:    B1, warm
# expect: Exited(0)
# stdout: contained
# wasm:   raises AttributeError: module 'os' has no attribute 'listxattr'
# why:    modes, times and attributes of the scratch folders themselves carry bits just as files do
import os

for place in (".", "/tmp", "/dev/shm", "/mnt"):
    for change in (lambda: os.chmod(place, 0o1733), lambda: os.utime(place, (77, 77)), lambda: os.setxattr(place, "user.mark", b"1"),
                   lambda: os.setxattr(place, "trusted.mark", b"1"), lambda: os.chown(place, os.getuid(), os.getgid())):
        try:
            change()
        except OSError:
            pass
try:
    os.rename("main.py", "other.py")
    os.rename("other.py", "main.py")
except OSError:
    pass
print("planted")
# --- then, in the next run ---
import os

found = []
for place in (".", "/tmp", "/dev/shm", "/mnt"):
    info = os.stat(place)
    if info.st_mode & 0o7777 != 0o1777:
        found.append(f"mode of {place}: {info.st_mode:o}")
    if int(info.st_mtime) == 77 or int(info.st_atime) == 77:
        found.append(f"times of {place}")
    try:
        if os.listxattr(place):
            found.append(f"attributes of {place}: {os.listxattr(place)}")
    except OSError:
        pass
print(f"ESCAPED: {found}" if found else "contained")
