# row:    A3
# expect: Exited(0)
# stdout: contained
# why:    files of procfs that tell about the host's kernel, its timers or its keys are covered
import os

found = []
for name in ("kcore", "keys", "key-users", "kallsyms", "kpagecount", "kpageflags", "kpagecgroup", "timer_list",
             "sched_debug", "scsi/scsi", "acpi/wakeup", "interrupts", "sysrq-trigger", "vmallocinfo", "slabinfo",
             "iomem", "ioports", "modules", "kmsg", "sys/kernel/debug"):
    path = "/proc/" + name
    try:
        text = open(path, "rb").read(4096)
    except OSError:
        continue
    # Addresses shown as zero, and a listing of nothing, tell nothing.
    told = [line for line in text.splitlines() if line.strip(b"0 -:\t")]
    if name in ("kallsyms", "iomem", "ioports", "modules"):
        told = [line for line in told if not line.startswith(b"0000000000000000") and b" 0x0000000000000000" not in line
                and b"00000000-00000000" not in line and b"0000-0000" not in line]
    if told:
        found.append(f"{path}: {told[0][:60]!r}")
print(f"ESCAPED: {found}" if found else "contained")
