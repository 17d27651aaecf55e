# row:    A1, A12
# expect: Exited(0)
# stdout: contained
# wasm:   not: its devices are files in memory; wasm/host_files looks for those of the host
# why:    of all devices a run needs five, and none of them is a disk, a terminal or the kernel's memory
import os
import stat

allowed = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}
links = {"fd", "stdin", "stdout", "stderr"}
found = []
for folder, _, files in os.walk("/dev"):
    for name in files:
        path = os.path.join(folder, name)
        info = os.lstat(path)
        if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
            if allowed.get(name) != (os.major(info.st_rdev), os.minor(info.st_rdev)) or stat.S_ISBLK(info.st_mode):
                found.append(path)
for name in os.listdir("/dev"):
    if name not in allowed and name not in links and name != "shm":
        found.append(f"/dev/{name}")
for name in ("tty", "ptmx", "pts/0", "console", "mem", "kmsg", "kvm", "fuse", "vda", "sda", "vsock", "vhost-vsock", "net/tun"):
    try:
        os.close(os.open("/dev/" + name, os.O_RDONLY))
        found.append(f"opened /dev/{name}")
    except OSError:
        pass
print(f"ESCAPED: {found}" if found else "contained")
