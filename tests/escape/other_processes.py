# row:     B5
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# wasm:    raises AttributeError: module 'os' has no attribute 'fork'
# why:     of all processes a run sees itself and its children, and not even the one that started it
import os
import signal

child = os.fork()
if child == 0:
    signal.pause()
seen = {int(name) for name in os.listdir("/proc") if name.isdigit()}
found = []
if seen - {os.getpid(), child}:
    found.append(f"processes {sorted(seen)}")
if child not in seen:
    found.append("its own child is hidden")
if os.getpid() == 1:
    found.append("it is pid 1, which ignores its own signals")
# Pids that a listing hides may still be looked up.
for pid in [pid for pid in range(1, 3000) if pid not in (os.getpid(), child)]:
    if os.path.exists(f"/proc/{pid}/status"):
        found.append(f"/proc/{pid}")
os.kill(child, 9)
os.waitpid(child, 0)
print(f"ESCAPED: {found}" if found else "contained")
