# row:    A1, B1
# expect: Exited(0)
# stdout: contained
# why:    a link into the writable space would keep a host file, and let the run change it
import os
import sys

found = []
for target in (sys.executable, "/etc/passwd", "/bin/sh", os.__file__, "/proc/self/environ", "/dev/null"):
    for place in ("hard", "/tmp/hard", "/dev/shm/hard"):
        try:
            os.link(target, place)
            found.append(f"{target} as {place}")
        except OSError:
            pass
print(f"ESCAPED: {found}" if found else "contained")
