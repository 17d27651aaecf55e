# row:    A3, A4
# expect: Exited(0)
# stdout: contained
# wasm:   raises FileNotFoundError: [Errno 44] No such file or directory: '/proc/self/mountinfo'
# why:    every mount is nosuid, all but the scratch space read-only, and none is a cgroup, sysfs or debugfs
found = []
scratch = ("/work", "/tmp", "/dev/shm", "/mnt")
for line in open("/proc/self/mountinfo"):
    before, after = line.rstrip("\n").split(" - ")
    part, point, options = before.split()[3:6]
    kind = after.split()[0]
    options = options.split(",")
    # One file of /dev each: the five devices, and null where a file of procfs is covered.
    device = part.lstrip("/") in ("null", "zero", "full", "random", "urandom")
    if "nosuid" not in options:
        found.append(f"{point} is not nosuid")
    if "nodev" not in options and not device:
        found.append(f"{point} is not nodev")
    if "ro" not in options and point not in scratch and not device:
        found.append(f"{point} is writable")
    if kind in ("cgroup", "cgroup2", "sysfs", "debugfs", "tracefs", "devpts", "mqueue", "securityfs", "bpf", "binfmt_misc",
                "configfs", "nsfs", "fusectl"):
        found.append(f"{point} is {kind}")
print(f"ESCAPED: {found}" if found else "contained")
