# row:    B5
# expect: Exited(0)
# stdout: contained
# needs:  x86_64
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    pid 1 ends the run at its limits: a run that could stop or end it would have none
import ctypes
import os
import signal

libc = ctypes.CDLL(None, use_errno=True)
found = []
for pid in {1, os.getppid()} - {0}:
    for number in range(0, 65):
        for name, call in (
            ("kill", lambda: libc.kill(pid, number)),
            ("tkill", lambda: libc.syscall(200, pid, number)),
            ("tgkill", lambda: libc.syscall(234, pid, pid, number)),
            ("rt_sigqueueinfo", lambda: libc.syscall(129, pid, number, ctypes.create_string_buffer(128))),
            ("rt_tgsigqueueinfo", lambda: libc.syscall(297, pid, pid, number, ctypes.create_string_buffer(128))),
        ):
            if call() == 0:
                found.append(f"{name}({pid}, {number})")
    fd = libc.syscall(434, pid, 0)
    if fd >= 0:
        found.append(f"pidfd_open({pid})")
        if libc.syscall(424, fd, signal.SIGKILL, None, 0) == 0:
            found.append("pidfd_send_signal")
# Everybody it may reach: nobody but its own children, and the run itself goes on.
try:
    os.kill(-1, signal.SIGKILL)
except OSError:
    pass
try:
    os.killpg(1, signal.SIGKILL)
    found.append("killpg(1)")
except OSError:
    pass
print(f"ESCAPED: {found}" if found else "contained")
