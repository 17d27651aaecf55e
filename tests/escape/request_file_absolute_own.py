# row:    E1, B1
# expect: Exited(0)
# stdout: contained
# files:  /tmp/codejury-hostile-mark=hello
# why:    an absolute path below /tmp is the run's own /tmp, which holds this file and nothing of the host's
import os

found = sorted(os.listdir("/tmp"))
print("contained" if found == ["codejury-hostile-mark"] else f"ESCAPED: {found}")
