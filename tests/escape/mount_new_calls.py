# row:    A5
# expect: Exited(0)
# stdout: contained
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    the file-descriptor mount calls do what mount does and must be as closed
import ctypes
import errno

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, OPEN_TREE_CLONE, AT_RECURSIVE = -100, 1, 0x8000
attributes = ctypes.create_string_buffer(32)
calls = {
    "open_tree": (428, (AT_FDCWD, b"/", OPEN_TREE_CLONE | AT_RECURSIVE)),
    "move_mount": (429, (AT_FDCWD, b"/proc", AT_FDCWD, b"/tmp", 0)),
    "fsopen": (430, (b"tmpfs", 0)),
    "fsconfig": (431, (0, 6, 0, 0, 0)),
    "fsmount": (432, (0, 0, 0)),
    "fspick": (433, (AT_FDCWD, b"/", 0)),
    "mount_setattr": (442, (AT_FDCWD, b"/", AT_RECURSIVE, attributes, 32)),
    "statmount": (457, (attributes, attributes, 32, 0)),
    "listmount": (458, (attributes, attributes, 1, 0)),
    "open_tree_attr": (467, (AT_FDCWD, b"/", OPEN_TREE_CLONE, attributes, 32)),
}
found = []
for name, (number, arguments) in calls.items():
    if libc.syscall(number, *arguments) >= 0:
        found.append(name)
    elif ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        found.append(f"{name} is reached: {errno.errorcode[ctypes.get_errno()]}")
print(f"ESCAPED: {found}" if found else "contained")
