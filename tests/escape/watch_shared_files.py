# row:     B4
# expect:  Exited(0)
# stdout:  contained
# args:    {host}
# control: escapes
# wasm:    raises ModuleNotFoundError: No module named '_ctypes'
# why:     a watch on a shared file tells when another run opens it, and a lease delays that run
import ctypes
import fcntl
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)
found = []
if libc.inotify_init1(0) >= 0 or libc.inotify_init() >= 0:
    found.append("inotify")
if libc.fanotify_init(0x200, 0) >= 0:
    found.append("fanotify")
F_SETLEASE, F_NOTIFY, F_RDLCK, F_WRLCK = 1024, 1026, 0, 1
own = os.open("own", os.O_RDWR | os.O_CREAT)
for path, fd in ((os.__file__, os.open(os.__file__, os.O_RDONLY)), (sys.executable, os.open(sys.executable, os.O_RDONLY)),
                 ("/usr/lib", os.open("/usr/lib", os.O_RDONLY)), ("own", own)):
    for name, command, argument in (("read lease", F_SETLEASE, F_RDLCK), ("write lease", F_SETLEASE, F_WRLCK),
                                    ("notify", F_NOTIFY, 0x1F | 0x80000000)):
        try:
            fcntl.fcntl(fd, command, ctypes.c_int(argument).value)
            found.append(f"{name} on {path}")
        except OSError:
            pass
print(f"ESCAPED: {found}" if found else "contained")
