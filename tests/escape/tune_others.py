# row:    B5
# expect: Exited(0)
# stdout: contained
# needs:  x86_64
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    limits, priority and processors of pid 1 are not the run's to set
import ctypes
import os
import resource

libc = ctypes.CDLL(None, use_errno=True)
found = []
buffer = ctypes.create_string_buffer(128)
for pid in {1, os.getppid()} - {0}:
    for name, call in (
        ("prlimit of resource", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE)),
        ("prlimit", lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1))),
        ("sched_setaffinity", lambda: os.sched_setaffinity(pid, {0})),
        ("setpriority", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19)),
        ("setpriority of the group", lambda: os.setpriority(os.PRIO_PGRP, pid, 19)),
        ("sched_setscheduler", lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))),
        ("sched_setparam", lambda: os.sched_setparam(pid, os.sched_param(0))),
        ("setpgid", lambda: os.setpgid(pid, 0)),
    ):
        try:
            call()
            found.append(f"{name} {pid}")
        except OSError:
            pass
    for name, number in (("ioprio_set", 251), ("sched_setattr", 314)):
        if libc.syscall(number, 1, pid, 0) >= 0:
            found.append(f"{name} {pid}")
try:
    os.setpriority(os.PRIO_USER, os.getuid(), 19)
    found.append("setpriority of the user, pid 1 among them")
except OSError:
    pass
print(f"ESCAPED: {found}" if found else "contained")
