# row:    A10
# expect: Exited(0)
# stdout: contained
# wasm:   raises ModuleNotFoundError: No module named 'fcntl'
# why:    a descriptor left open by the supervisor is a way out that no other layer closes
import fcntl
import os
import stat

found = []
for fd in range(3, 4096):
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
        found.append(f"{fd} is {os.readlink(f'/proc/self/fd/{fd}')}")
    except OSError:
        pass
for fd in (0, 1, 2):
    mode = os.fstat(fd).st_mode
    null = stat.S_ISCHR(mode) and os.fstat(fd).st_rdev == os.makedev(1, 3)
    if not stat.S_ISFIFO(mode) and not null:
        found.append(f"{fd} is {os.readlink(f'/proc/self/fd/{fd}')}")
inodes = [os.fstat(fd).st_ino for fd in (0, 1, 2) if stat.S_ISFIFO(os.fstat(fd).st_mode)]
if len(set(inodes)) != len(inodes):
    found.append("two streams share a pipe")
if fcntl.fcntl(0, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
    found.append("standard input is writable")
for fd in (0, 1, 2):
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK:
        found.append(f"{fd} does not block")
print(f"ESCAPED: {found}" if found else "contained")
