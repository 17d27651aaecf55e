# row:    A5
# expect: Exited(0)
# stdout: contained
# needs:  x86_64
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    a new root is the first half of the classic way out of the old one
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
SYS_pivot_root = 155
found = []
for target in ("/tmp", "/", "."):
    try:
        os.chroot(target)
        found.append(f"chroot {target}")
    except OSError:
        pass
os.mkdir("/tmp/old")
for new, old in ((b"/tmp", b"/tmp/old"), (b".", b".")):
    if libc.syscall(SYS_pivot_root, new, old) == 0:
        found.append(f"pivot_root {new.decode()}")
print(f"ESCAPED: {found}" if found else "contained")
