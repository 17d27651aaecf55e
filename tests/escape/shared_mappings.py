# row:    B7, warm
# expect: Exited(0)
# stdout: contained
# wasm:   raises FileNotFoundError: [Errno 44] No such file or directory: '/proc/self/maps'
# why:    memory that is shared survives the fork: what a run writes there, pid 1 and later runs would read
found = []
for line in open("/proc/self/maps"):
    mode = line.split()[1]
    if "s" in mode and "w" in mode:
        found.append(line.strip())
print(f"ESCAPED: {found}" if found else "contained")
