# row:    A5
# expect: Exited(0)
# stdout: contained
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    namespaces cannot be joined, neither by file nor by pidfd, not even one's own
import ctypes
import errno
import os

libc = ctypes.CDLL(None, use_errno=True)
found = []
for owner in ("self", "1", str(os.getppid())):
    for kind in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"):
        try:
            fd = os.open(f"/proc/{owner}/ns/{kind}", os.O_RDONLY)
        except OSError:
            continue
        if owner != "self":
            found.append(f"opened {kind} of {owner}")
        if libc.setns(fd, 0) == 0:
            found.append(f"joined {kind} of {owner}")
        elif ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
            found.append(f"setns is reached: {errno.errorcode[ctypes.get_errno()]}")
try:
    if libc.setns(os.pidfd_open(os.getpid()), 0x20000) == 0:
        found.append("joined by pidfd")
except (OSError, AttributeError):
    pass
print(f"ESCAPED: {found}" if found else "contained")
