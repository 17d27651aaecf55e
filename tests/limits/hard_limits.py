# row:    C6, C1, D2
# expect: Exited(0)
# stdout: contained
# wasm:   not: there is nothing that has limits of the kernel, and none are shown
# why:    no limit can be raised again, and those that name a budget have it
import resource

found = []
for name, wanted in (("NOFILE", 256), ("FSIZE", 64 << 20), ("CORE", 1), ("MEMLOCK", 65536), ("MSGQUEUE", 0), ("SIGPENDING", 256),
                     ("NICE", 0), ("RTPRIO", 0), ("NPROC", 65)):
    kind = getattr(resource, f"RLIMIT_{name}")
    soft, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY or hard > wanted:
        found.append(f"{name} is {soft}, {hard}")
for kind in range(16):
    soft, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY:
        continue
    try:
        resource.setrlimit(kind, (hard, hard + 1))
        found.append(f"raised {kind}")
    except (ValueError, OSError):
        pass
if resource.getrlimit(resource.RLIMIT_AS)[1] == resource.RLIM_INFINITY:
    found.append("address space is unlimited")
if resource.getrlimit(resource.RLIMIT_CPU)[1] == resource.RLIM_INFINITY:
    found.append("processor time is unlimited")
print(f"ESCAPED: {found}" if found else "contained")
