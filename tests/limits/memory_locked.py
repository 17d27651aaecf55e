# row:    C2
# expect: Exited(0)
# stdout: contained
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    locked memory cannot be reclaimed by a host in need
import ctypes
import resource

libc = ctypes.CDLL(None, use_errno=True)
found = []
block = ctypes.create_string_buffer(32 << 20)
if libc.mlock(block, 32 << 20) == 0:
    found.append("locked 32 MiB")
if libc.mlockall(3) == 0:
    found.append("locked everything")
if resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] > 1 << 16:
    found.append(f"limit {resource.getrlimit(resource.RLIMIT_MEMLOCK)}")
print(f"ESCAPED: {found}" if found else "contained")
