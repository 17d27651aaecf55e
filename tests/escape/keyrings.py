# row:     B3
# expect:  Exited(0)
# stdout:  contained
# needs:   x86_64
# control: escapes
# wasm:    raises ModuleNotFoundError: No module named '_ctypes'
# why:     the kernel's keyrings belong to a user id and outlive every namespace of a run
import ctypes
import errno

libc = ctypes.CDLL(None, use_errno=True)
USER, SESSION, PROCESS = -4, -3, -2
calls = {
    "add_key": (248, (b"user", b"codejury", b"mark", 4, USER)),
    "request_key": (249, (b"user", b"codejury", None, USER)),
    "keyctl get keyring": (250, (0, USER, 1)),
    "keyctl join session": (250, (1, b"codejury")),
    "keyctl read": (250, (11, SESSION, None, 0)),
}
found = []
for name, (number, arguments) in calls.items():
    if libc.syscall(number, *arguments) >= 0:
        found.append(name)
    elif ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        found.append(f"{name} is reached: {errno.errorcode[ctypes.get_errno()]}")
print(f"ESCAPED: {found}" if found else "contained")
