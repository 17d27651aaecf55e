# row:     A1, A3
# expect:  Exited(0)
# stdout:  contained
# args:    {host}
# control: escapes
# why:     of all files there are the program's own and the standard library, by whatever path they are asked for
import json
import os
import sys

host = json.loads(sys.argv[1])
found = []
for secret in host["secrets"] + ["/etc/passwd", "/etc/hostname", "/proc/version", "/proc/self/maps", "/sys/kernel", "/dev/mem"]:
    for path in (secret, "../../../../.." + secret, "/tmp/../.." + secret, "/proc/self/root" + secret, "//" + secret):
        for look in (os.stat, os.listdir, os.readlink, lambda path: open(path, "rb").read(1)):
            try:
                look(path)
                found.append(path)
            except OSError:
                pass
# What a link names is looked up inside too, and a descriptor of the root leads nowhere else.
for secret in host["secrets"]:
    os.symlink(secret, "link")
    try:
        found.append(open("link").read())
    except OSError:
        pass
    os.remove("link")
root = os.open("/", os.O_RDONLY)
for name in ("..", "../..", "../etc/passwd", "../tmp/../../etc/passwd"):
    try:
        if os.stat(name, dir_fd=root).st_ino != os.fstat(root).st_ino:
            found.append(name)
    except OSError:
        pass
for folder, folders, files in os.walk("/"):
    found += [os.path.join(folder, name) for name in files if name == host["file_name"]]
    if folder in ("/proc", "/sys", "/usr"):
        folders.clear()
# And descriptors: the three streams, and the root that everything is opened from.
for descriptor in range(4, 1024):
    try:
        if descriptor != root:
            os.fstat(descriptor)
            found.append(f"descriptor {descriptor}")
    except OSError:
        pass
print(f"ESCAPED: {sorted(set(found))}" if found else "contained")
