# row:     A5
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# wasm:    raises ModuleNotFoundError: No module named '_ctypes'
# why:     io_uring carries out calls that no filter sees
import ctypes
import errno

libc = ctypes.CDLL(None, use_errno=True)
parameters = ctypes.create_string_buffer(120)
found = []
for name, number, arguments in (("io_uring_setup", 425, (8, parameters)), ("io_uring_enter", 426, (0, 0, 0, 0, None, 0)),
                                ("io_uring_register", 427, (0, 0, None, 0))):
    if libc.syscall(number, *arguments) >= 0:
        found.append(name)
    elif ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM):
        found.append(f"{name} is reached: {errno.errorcode[ctypes.get_errno()]}")
print(f"ESCAPED: {found}" if found else "contained")
