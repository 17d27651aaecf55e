# row:     B4
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# known:   SECURITY.md, what is not promised: locks on read-only files of the root
# why:     a record lock on a shared read-only file is seen by every run that asks about that file
import ctypes
import fcntl
import os
import struct
import time

F_OFD_SETLK = 37
first = os.open(os.__file__, os.O_RDONLY)
second = os.open(os.path.dirname(os.__file__) + "/random.py", os.O_RDONLY)
for fd, command in ((first, fcntl.F_SETLK), (second, F_OFD_SETLK)):
    try:
        fcntl.fcntl(fd, command, struct.pack("hhqqixxxx", fcntl.F_RDLCK, 0, 0, 0, 0))
    except OSError:
        pass
time.sleep(1)
# --- beside it, in another run ---
import fcntl
import os
import struct

F_OFD_GETLK = 36
found = []
for path, command in ((os.__file__, fcntl.F_GETLK), (os.path.dirname(os.__file__) + "/random.py", F_OFD_GETLK)):
    fd = os.open(path, os.O_RDONLY)
    try:
        answer = fcntl.fcntl(fd, command, struct.pack("hhqqixxxx", fcntl.F_WRLCK, 0, 0, 0, 0))
    except OSError:
        continue
    if struct.unpack("hhqqixxxx", answer)[0] != fcntl.F_UNLCK:
        found.append(path)
print(f"ESCAPED: {found}" if found else "contained")
