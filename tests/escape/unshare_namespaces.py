# row:     A5
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# wasm:    raises ModuleNotFoundError: No module named '_ctypes'
# why:     a namespace of its own would give the run capabilities, and with them most of the kernel's holes
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
found = []
for name, flag in (("user", 0x10000000), ("mount", 0x20000), ("pid", 0x20000000), ("net", 0x40000000), ("ipc", 0x8000000),
                   ("uts", 0x4000000), ("cgroup", 0x2000000), ("time", 0x80), ("files", 0x400), ("user and net", 0x50000000)):
    if libc.unshare(flag) == 0 and name != "files":
        found.append(name)
print(f"ESCAPED: {found}" if found else "contained")
