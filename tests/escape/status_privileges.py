# row:     A4
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# wasm:    raises FileNotFoundError: [Errno 44] No such file or directory: '/proc/self/status'
# why:     the kernel's own account of this process: no capability, no id of pid 1, no new privileges, a filter
status = dict(line.split(":\t", 1) for line in open("/proc/self/status") if ":\t" in line)
found = []
for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
    if int(status[name], 16):
        found.append(f"{name} {status[name].strip()}")
if "0" in status["Uid"].split() + status["Gid"].split():
    found.append("the id of the cell's own user, which owns what runs share")
if int(status["NoNewPrivs"]) != 1:
    found.append("new privileges are possible")
if int(status["Seccomp"]) != 2:
    found.append("no filter")
print(f"ESCAPED: {found}" if found else "contained")
