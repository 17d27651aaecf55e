# row:     B4
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# wasm:    Exited(0)
# why:     /proc/locks lists the locks of the whole host, whoever holds them
import fcntl
import time

file = open("locked", "w")
fcntl.flock(file, fcntl.LOCK_EX)
time.sleep(1)
# --- beside it, in another run ---
try:
    locks = open("/proc/locks").read()
except OSError:
    locks = ""
print(f"ESCAPED: {locks.splitlines()[:3]}" if locks else "contained")
