# row:     warm, B1
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# wasm:    raises AttributeError: module 'os' has no attribute 'O_TMPFILE'
# why:     an unnamed file moves no counter that proves a cell clean, so it is refused; tempfile falls back by itself
import errno
import os
import tempfile

found = []
for place in (".", "/tmp", "/dev/shm", "/mnt"):
    try:
        os.close(os.open(place, os.O_TMPFILE | os.O_RDWR))
        found.append(place)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EACCES):
            found.append(f"{place}: {error}")
with tempfile.TemporaryFile() as file:
    file.write(b"works")
    file.seek(0)
    if file.read() != b"works":
        found.append("tempfile does not work")
print(f"ESCAPED: {found}" if found else "contained")
