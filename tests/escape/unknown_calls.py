# row:    A5
# expect: Exited(0)
# stdout: contained
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    a call that a newer kernel adds is refused before anybody has heard of it
import ctypes
import errno

libc = ctypes.CDLL(None, use_errno=True)
found = []
for number in list(range(463, 700)) + [1000, 5000, 0x3FFFFFFF]:
    if libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0) >= 0:
        found.append(number)
    elif ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        found.append(f"{number} is reached: {errno.errorcode[ctypes.get_errno()]}")
print(f"ESCAPED: {found}" if found else "contained")
