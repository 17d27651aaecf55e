# row:    A6
# expect: Signaled(SIGSYS) | Exited(0)
# stdout~: (contained\n)?
# needs:  x86_64
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    the x32 table is reached by a bit in the number; such a call is refused or killed, never carried out
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
X32 = 0x40000000
found = []
for number in (39, 102, 41, 165, 272, 520, 521):  # getpid, getuid, socket, mount, unshare, execve and ptrace of x32
    answer = libc.syscall(ctypes.c_long(X32 | number), 0, 0, 0, 0, 0)
    if answer >= 0:
        found.append(f"{number} answered {answer}")
print(f"ESCAPED: {found}" if found else "contained")
