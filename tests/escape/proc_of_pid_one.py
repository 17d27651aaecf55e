# row:    B5, A11
# expect: Exited(0)
# stdout: contained
# wasm:   raises AttributeError: module 'os' has no attribute 'getppid'
# why:    memory, descriptors and root of the process that judges the run must stay out of reach
import os

found = []
for pid in {1, os.getppid()} - {0}:
    for name in ("environ", "mem", "maps", "cmdline", "stat", "status", "io", "syscall", "stack", "auxv", "pagemap"):
        for mode in ("rb", "r+b"):
            try:
                open(f"/proc/{pid}/{name}", mode).read(1)
                found.append(f"{pid}/{name}")
            except (OSError, ValueError):
                pass
    for name in ("root", "cwd", "exe", "fd", "fdinfo", "task", "map_files", "ns"):
        try:
            os.listdir(f"/proc/{pid}/{name}") if name != "exe" else os.readlink(f"/proc/{pid}/{name}")
            found.append(f"{pid}/{name}")
        except OSError:
            pass
print(f"ESCAPED: {found}" if found else "contained")
