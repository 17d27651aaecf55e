# row:    A3
# expect: Exited(0)
# stdout: contained
# why:    core_pattern and modprobe name programs that the kernel starts as the host's root
import glob
import os

found = []
wanted = [
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/ns_last_pid", "/proc/sys/kernel/randomize_va_space", "/proc/sys/kernel/shmmax",
    "/proc/sys/fs/binfmt_misc/register", "/proc/sys/fs/mqueue/msg_max", "/proc/sys/vm/drop_caches",
    "/proc/sys/vm/overcommit_memory", "/proc/sys/user/max_user_namespaces", "/proc/sys/net/ipv4/ip_forward",
    "/proc/sysrq-trigger", "/proc/self/oom_score_adj", "/proc/self/oom_adj", "/proc/self/uid_map", "/proc/self/gid_map",
    "/proc/self/setgroups", "/proc/self/loginuid", "/proc/self/clear_refs", "/proc/self/coredump_filter",
    "/proc/self/timerslack_ns", "/proc/self/attr/current",
]
for path in wanted + glob.glob("/proc/sys/kernel/*") + glob.glob("/proc/sys/net/*/*"):
    try:
        os.close(os.open(path, os.O_WRONLY))
        found.append(path)
    except OSError:
        pass
print(f"ESCAPED: {found}" if found else "contained")
