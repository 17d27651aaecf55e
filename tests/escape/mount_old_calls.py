# row:    A5
# expect: Exited(0)
# stdout: contained
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    mount and umount2 are refused in every form, remounting what is read-only above all
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_SHARED = 1, 32, 4096, 8192, 16384, 1 << 20
MNT_DETACH = 2
found = []
points = [line.split()[4].encode() for line in open("/proc/self/mountinfo")]
for point in points:
    if libc.mount(b"none", point, None, MS_REMOUNT | MS_BIND, None) == 0:
        found.append(f"remounted {point.decode()}")
    if libc.mount(b"none", point, None, MS_REMOUNT, None) == 0:
        found.append(f"remounted {point.decode()} with its file system")
    if libc.mount(b"none", point, None, MS_SHARED | MS_REC, None) == 0:
        found.append(f"shared {point.decode()}")
for source, target, flags in ((b"/", b"/mnt", MS_BIND | MS_REC), (b"/etc", b"/tmp", MS_BIND), (b"/proc", b"/tmp", MS_MOVE)):
    if libc.mount(source, target, None, flags, None) == 0:
        found.append(f"bound {source.decode()}")
for point in reversed(points):
    if libc.umount2(point, MNT_DETACH) == 0:
        found.append(f"unmounted {point.decode()}")
print(f"ESCAPED: {found}" if found else "contained")
