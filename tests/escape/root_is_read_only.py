# row:    A1, B1
# expect: Exited(0)
# stdout: contained
# args:   {host}
# wasm:   raises AttributeError: module 'os' has no attribute 'setxattr'
# why:    interpreter, libraries and configuration serve all runs; what one could write, all would run
import json
import os
import sys

mark = json.loads(sys.argv[1])["mark"]
places = {"/", "/etc", "/usr", "/usr/lib", "/usr/bin", "/bin", "/lib", "/dev", "/proc", "/sys", "/var", "/var/tmp",
          "/run", "/home", "/root", "/srv", "/opt", sys.prefix, os.path.dirname(sys.executable), os.path.dirname(os.__file__)}
places.update(place for place in sys.path if place.startswith("/usr") or place.startswith(sys.prefix))
found = []
for place in sorted(places):
    try:
        open(os.path.join(place, mark), "w").close()
        found.append(f"created a file in {place}")
    except OSError:
        pass
for file in (sys.executable, os.__file__, "/etc/passwd", "/etc/ld.so.cache", "/bin/sh"):
    for name, attempt in (
        ("write", lambda: open(file, "r+b")),
        ("chmod", lambda: os.chmod(file, 0o777)),
        ("utime", lambda: os.utime(file, (1, 1))),
        ("unlink", lambda: os.unlink(file)),
        ("rename", lambda: os.rename(file, file + ".old")),
        ("truncate", lambda: os.truncate(file, 0)),
        ("xattr", lambda: os.setxattr(file, "user.mark", b"x")),
    ):
        try:
            attempt()
            found.append(f"{name} {file}")
        except OSError:
            pass
print(f"ESCAPED: {found}" if found else "contained")
