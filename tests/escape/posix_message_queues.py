# row:     B2
# expect:  Exited(0)
# stdout:  contained
# needs:   x86_64
# control: escapes
# wasm:    raises ModuleNotFoundError: No module named '_ctypes'
# why:     a message queue has a name and outlives its maker
import ctypes
import errno
import os

libc = ctypes.CDLL(None, use_errno=True)
SYS_mq_open, SYS_mq_unlink = 240, 241
found = []
if libc.syscall(SYS_mq_open, b"codejury-mark", os.O_RDWR | os.O_CREAT, 0o666, None) >= 0:
    found.append("mq_open")
elif ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
    found.append(f"mq_open is reached: {errno.errorcode[ctypes.get_errno()]}")
libc.syscall(SYS_mq_unlink, b"codejury-mark")
if os.path.exists("/dev/mqueue"):
    found.append("/dev/mqueue")
print(f"ESCAPED: {found}" if found else "contained")
