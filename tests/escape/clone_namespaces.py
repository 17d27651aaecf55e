# row:     A5
# expect:  Exited(0)
# stdout:  contained
# needs:   x86_64
# control: escapes
# wasm:    raises ModuleNotFoundError: No module named '_ctypes'
# why:     fork's own call takes the same flags, in both of its forms
import ctypes
import errno
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)
SYS_clone, SYS_clone3, SIGCHLD = 56, 435, 17
found = []
for name, flag in (("user", 0x10000000), ("mount", 0x20000), ("pid", 0x20000000), ("net", 0x40000000), ("ipc", 0x8000000),
                   ("uts", 0x4000000), ("cgroup", 0x2000000), ("user and mount", 0x10020000)):
    child = libc.syscall(SYS_clone, ctypes.c_ulong(flag | SIGCHLD), 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    if child > 0:
        os.waitpid(child, 0)
        found.append(f"clone: {name}")
    arguments = ctypes.create_string_buffer(struct.pack("11Q", flag, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, 0))
    child = libc.syscall(SYS_clone3, arguments, ctypes.c_size_t(88))
    if child == 0:
        os._exit(0)
    if child > 0:
        os.waitpid(child, 0)
        found.append(f"clone3: {name}")
    elif ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM):
        found.append(f"clone3 is reached: {errno.errorcode[ctypes.get_errno()]}")
print(f"ESCAPED: {found}" if found else "contained")
