# row:    A10, B4, warm
# expect: Exited(0)
# stdout: contained
# wasm:   raises ModuleNotFoundError: No module named 'fcntl'
# why:    memory files, timers, epoll sets and locks end with the processes that hold them
import ctypes
import fcntl
import os
import select
import signal
import sys

libc = ctypes.CDLL(None, use_errno=True)
held = []
for make in (
    lambda: os.memfd_create("planted", 0),
    lambda: os.eventfd(1) if hasattr(os, "eventfd") else libc.eventfd(1, 0),
    lambda: libc.timerfd_create(1, 0),
    lambda: select.epoll(),
    lambda: os.pidfd_open(os.getpid()),
    lambda: libc.signalfd(-1, ctypes.create_string_buffer(128), 8),
):
    try:
        held.append(make())
    except OSError:
        pass
signal.setitimer(signal.ITIMER_VIRTUAL, 60)
# A file for each cell: locks on read-only files are seen across cells, and this is not about that.
folder = os.path.dirname(os.__file__)
names = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
file = open(os.path.join(folder, names[os.stat(".").st_dev % len(names)]))
for lock in (lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB), lambda: fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)):
    try:
        lock()
    except OSError:
        pass
print("planted", flush=True)
os._exit(0)
# --- then, in the next run ---
import fcntl
import os
import signal

found = [fd for fd in range(3, 300) if os.path.exists(f"/proc/self/fd/{fd}")]
if signal.getitimer(signal.ITIMER_VIRTUAL) != (0.0, 0.0):
    found.append("timer")
folder = os.path.dirname(os.__file__)
names = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
file = open(os.path.join(folder, names[os.stat(".").st_dev % len(names)]))
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    found.append("the file is locked")
except OSError:
    pass
print(f"ESCAPED: {found}" if found else "contained")
