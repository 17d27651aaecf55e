# row:    A1
# expect: Exited(0)
# stdout: contained
# wasm:   raises AttributeError: module 'os' has no attribute 'mknod'
# why:    a device node made in the scratch space would be the disk or the kernel's memory by another name
import os
import stat

found = []
for name, kind, major, minor in (("disk", stat.S_IFBLK, 254, 0), ("sda", stat.S_IFBLK, 8, 0), ("mem", stat.S_IFCHR, 1, 1),
                                 ("null", stat.S_IFCHR, 1, 3), ("tty", stat.S_IFCHR, 5, 0)):
    for place in (".", "/tmp", "/dev/shm", "/mnt"):
        try:
            os.mknod(os.path.join(place, name), 0o666 | kind, os.makedev(major, minor))
            found.append(f"{place}/{name}")
        except OSError:
            pass
print(f"ESCAPED: {found}" if found else "contained")
