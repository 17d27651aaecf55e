# row:    A1, A5
# expect: Exited(0)
# stdout: contained
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    a file handle names an inode of a whole file system, past every mount: the container escape of 2014
import ctypes
import errno
import os

libc = ctypes.CDLL(None, use_errno=True)
handle = ctypes.create_string_buffer(8 + 128)
handle[0:4] = (128).to_bytes(4, "little")
mount_id = ctypes.c_int()
found = []
for path in (b"/", b"/usr/lib", b"/etc/passwd", b"."):
    if libc.name_to_handle_at(-100, path, handle, ctypes.byref(mount_id), 0) == 0:
        found.append(f"a handle of {path.decode()}")
# Inode 2 is the root of an ext4 file system.
handle[0:8] = (8).to_bytes(4, "little") + (1).to_bytes(4, "little")
handle[8:16] = (2).to_bytes(8, "little")
for path in ("/usr/lib", "/bin", "/etc/passwd", "/tmp"):
    try:
        mount = os.open(path, os.O_RDONLY)
    except OSError:
        continue
    if libc.open_by_handle_at(mount, handle, 0) >= 0:
        found.append(f"opened by handle through {path}")
    elif ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        found.append(f"open_by_handle_at is reached: {errno.errorcode[ctypes.get_errno()]}")
print(f"ESCAPED: {found}" if found else "contained")
