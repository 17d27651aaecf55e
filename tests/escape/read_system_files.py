# row:    A1
# expect: Exited(0)
# stdout: contained
# wasm:   raises FileNotFoundError: [Errno 44] No such file or directory: '/etc/passwd'
# why:    accounts, keys, logs, the kernel's image and other people's folders are not in the root
import os

secret = [
    "/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/ssh", "/etc/ssl/private", "/etc/machine-id", "/etc/hostname",
    "/etc/resolv.conf", "/etc/fstab", "/etc/crontab", "/root/.ssh", "/root/.bash_history", "/root/.aws",
    "/root/.config", "/var/log", "/var/lib", "/var/run/secrets", "/run/secrets", "/boot", "/lost+found", "/usr/src",
    "/sys/kernel", "/sys/class", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cgroup.procs", "/proc/1/environ",
]
found = []
for path in secret:
    try:
        if os.path.isdir(path):
            if os.listdir(path):
                found.append(path)
        else:
            open(path, "rb").read(1)
            found.append(path)
    except OSError:
        pass
accounts = {line.split(":")[0] for line in open("/etc/passwd")}
if len(accounts) > 3:
    found.append(f"the host's accounts: {sorted(accounts)}")
print(f"ESCAPED: {found}" if found else "contained")
