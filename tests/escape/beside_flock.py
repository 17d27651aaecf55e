# row:     B4
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# known:   SECURITY.md, what is not promised: locks on read-only files of the root
# why:     a lock on a shared read-only file is a bit that another run can read while it is held
import fcntl
import os
import time

file = open(os.__file__)
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    pass
time.sleep(1)
# --- beside it, in another run ---
import fcntl
import os

file = open(os.__file__)
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("contained")
except BlockingIOError:
    print("ESCAPED: the file is locked")
except OSError:
    print("contained")
