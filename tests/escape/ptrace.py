# row:     B5
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# wasm:    raises ModuleNotFoundError: No module named '_ctypes'
# why:     a tracer rewrites its tracee: pid 1, or a child whose calls would then pass another filter
import ctypes
import errno
import os
import time

libc = ctypes.CDLL(None, use_errno=True)
TRACEME, ATTACH, SEIZE = 0, 16, 0x4206
found = []
child = os.fork()
if child == 0:
    time.sleep(5)
    os._exit(0)
for pid in {1, os.getppid(), child} - {0}:
    for name, request in (("attach", ATTACH), ("seize", SEIZE)):
        if libc.ptrace(request, pid, None, None) == 0:
            found.append(f"{name} {pid}")
        elif ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
            found.append(f"ptrace is reached: {errno.errorcode[ctypes.get_errno()]}")
os.kill(child, 9)
os.waitpid(child, 0)
willing = os.fork()
if willing == 0:
    os._exit(libc.ptrace(TRACEME, 0, None, None) == 0)
if os.waitpid(willing, 0)[1] != 0:
    found.append("traceme")
print(f"ESCAPED: {found}" if found else "contained")
