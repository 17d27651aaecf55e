# row:    A10, D8, warm
# expect: Exited(0)
# stdout: contained
# stdin:  own input\n
# wasm:   raises ModuleNotFoundError: No module named 'fcntl'
# why:    each run has pipes of its own: neither bytes nor flags of an earlier run are in them
import fcntl
import os

for fd in (0, 1, 2):
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK | os.O_APPEND)
        fcntl.fcntl(fd, 1031, 4096)  # F_SETPIPE_SZ
    except OSError:
        pass
# Its own standard input opened for writing, and its output for reading.
for link, flags in (("/proc/self/fd/0", os.O_RDWR), ("/proc/self/fd/1", os.O_RDWR), ("/dev/stdin", os.O_WRONLY | os.O_NONBLOCK)):
    try:
        fd = os.open(link, flags)
        os.set_inheritable(fd, True)
        os.write(fd, b"planted\n")
    except OSError:
        pass
# --- then, in the next run ---
import fcntl
import os
import sys

found = []
for fd in (0, 1, 2):
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if flags & (os.O_NONBLOCK | os.O_APPEND):
        found.append(f"flags of {fd}: {flags:o}")
if sys.stdin.read() != "own input\n":
    found.append("standard input is not its own")
print(f"ESCAPED: {found}" if found else "contained")
