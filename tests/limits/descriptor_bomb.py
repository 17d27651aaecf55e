# row:    C6
# expect: Exited(0)
# stdout: contained
# wasm:   raises AttributeError: module 'os' has no attribute 'pipe'
# why:    open files are few, whichever way they are made
import os
import resource

made = []
for make in (lambda: os.open("/dev/null", os.O_RDONLY), lambda: os.dup(0), lambda: os.pipe()[0], lambda: os.open(".", os.O_RDONLY)):
    try:
        while len(made) < 5000:
            made.append(make())
    except OSError:
        pass
highest = max(made)
for fd in made[:50]:
    os.close(fd)
found = []
if highest >= 256:
    found.append(f"descriptor {highest}")
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (100000, 100000))
    found.append("the limit was raised")
except (ValueError, OSError):
    pass
try:
    os.dup2(0, 1000)
    found.append("dup2 to 1000")
except OSError:
    pass
print(f"ESCAPED: {found}" if found else "contained")
