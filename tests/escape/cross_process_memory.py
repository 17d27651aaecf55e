# row:     B5
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# wasm:    raises ModuleNotFoundError: No module named '_ctypes'
# why:     these calls read and write another process's memory, or take its descriptors, without tracing it
import ctypes
import errno
import os
import platform

libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


buffer = ctypes.create_string_buffer(16)
vector = ctypes.byref(Vector(ctypes.addressof(buffer), 16))
found = []
for pid in {1, os.getppid(), os.getpid()} - {0}:
    calls = {
        "process_vm_readv": lambda: libc.process_vm_readv(pid, vector, 1, vector, 1, 0),
        "process_vm_writev": lambda: libc.process_vm_writev(pid, vector, 1, vector, 1, 0),
        "kcmp": lambda: libc.syscall(312 if x86 else 272, pid, pid, 0, 0, 0),
        "move_pages": lambda: libc.syscall(279 if x86 else 239, pid, 0, None, None, None, 0),
        "migrate_pages": lambda: libc.syscall(256 if x86 else 238, pid, 0, None, None),
        "get_robust_list": lambda: 0 if pid == os.getpid() else libc.syscall(274 if x86 else 100, pid, buffer, buffer),
        "pidfd_getfd": lambda: libc.syscall(438, libc.syscall(434, pid, 0), 0, 0),
        "process_madvise": lambda: libc.syscall(440, libc.syscall(434, pid, 0), vector, 1, 21, 0),
        "process_mrelease": lambda: libc.syscall(448, libc.syscall(434, pid, 0), 0),
    }
    for name, call in calls.items():
        ctypes.set_errno(0)
        if call() >= 0:
            if name != "get_robust_list" or pid != os.getpid():
                found.append(f"{name} {'self' if pid == os.getpid() else pid}")
        elif ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS, errno.ESRCH, errno.EACCES):
            found.append(f"{name} is reached: {errno.errorcode[ctypes.get_errno()]}")
print(f"ESCAPED: {found}" if found else "contained")
