# row:    A12
# expect: Exited(0)
# stdout: contained
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    characters pushed into a shared terminal are typed into the operator's shell
import ctypes
import errno
import fcntl
import os

TIOCSTI, TIOCLINUX, TIOCSCTTY, TIOCSETD = 0x5412, 0x541C, 0x540E, 0x5423
found = []
libc = ctypes.CDLL(None, use_errno=True)
for fd in (0, 1, 2):
    for name, request in (("TIOCSTI", TIOCSTI), ("TIOCLINUX", TIOCLINUX), ("TIOCSCTTY", TIOCSCTTY), ("TIOCSETD", TIOCSETD),
                          # Only the low 32 bits count for the kernel, so they must for the filter.
                          ("TIOCSTI with high bits", TIOCSTI | 0xDEADBEEF << 32)):
        if libc.ioctl(fd, ctypes.c_ulong(request), b"x") == 0:
            found.append(f"{name} on {fd}")
        elif ctypes.get_errno() not in (errno.ENOTTY, errno.EPERM):
            found.append(f"{name} is reached: {errno.errorcode[ctypes.get_errno()]}")
for name in ("/dev/tty", "/dev/console", "/dev/ptmx"):
    try:
        os.open(name, os.O_RDWR)
        found.append(name)
    except OSError:
        pass
if os.getsid(0) != os.getpid():
    found.append("it leads no session of its own")
if open("/proc/self/stat").read().rsplit(")", 1)[1].split()[4] != "0":
    found.append("it has a terminal")
print(f"ESCAPED: {found}" if found else "contained")
