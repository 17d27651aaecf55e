# row:    D7
# expect: Signaled(SIGSEGV)
# stdout: contained
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    a crash leaves no core file, nor does it start the host's handler of cores
import ctypes
import os
import resource

found = []
if resource.getrlimit(resource.RLIMIT_CORE) not in ((1, 1), (0, 0)):
    found.append(f"limit {resource.getrlimit(resource.RLIMIT_CORE)}")
try:
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    found.append("raised")
except (ValueError, OSError):
    pass
child = os.fork()
if child == 0:
    ctypes.string_at(0)
if os.WCOREDUMP(os.waitpid(child, 0)[1]):
    found.append("a child dumped core")
found += [name for name in os.listdir(".") if name.startswith("core")]
print(f"ESCAPED: {found}" if found else "contained", flush=True)
ctypes.string_at(0)
