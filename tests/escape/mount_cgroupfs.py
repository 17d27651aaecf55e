# row:    A3, A5
# expect: Exited(0)
# stdout: contained
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    a writable cgroup tree has release_agent, and the run's own limits
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
found = []
for kind in (b"cgroup", b"cgroup2", b"sysfs", b"proc", b"tmpfs", b"devtmpfs", b"overlay", b"debugfs", b"mqueue", b"bpf"):
    for data in (None, b"memory", b"pids", b"none,name=x"):
        if libc.mount(kind, b"/tmp", kind, 0, data) == 0:
            found.append(f"mounted {kind.decode()}")
for path in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/unified"):
    if os.path.exists(path):
        found.append(path)
print(f"ESCAPED: {found}" if found else "contained")
