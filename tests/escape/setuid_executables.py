# row:    A4
# expect: Exited(0)
# stdout: contained
# wasm:   raises FileNotFoundError: [Errno 44] No such file or directory: '/bin/sh'
# why:    neither the system's set-uid programs nor a copy with the bit set change who runs
import os
import shutil
import stat
import subprocess
import sys

found = []
tried = [path for path in ("/bin/su", "/usr/bin/passwd", "/usr/bin/sudo", "/bin/mount", "/usr/bin/chsh") if os.path.exists(path)]
shutil.copy("/bin/sh", "/tmp/sh")
try:
    os.chmod("/tmp/sh", 0o6755)
    if os.stat("/tmp/sh").st_mode & stat.S_ISUID:
        tried.append("/tmp/sh")
except OSError:
    pass
ask = "import os; print(os.getresuid(), os.getresgid(), open('/proc/self/status').read())"
for program in tried:
    try:
        child = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError:
        continue
    try:
        status = open(f"/proc/{child.pid}/status").read()
        if "\nUid:\t0" in status or "\nCapEff:\t0000000000000000" not in status:
            found.append(program)
    except OSError:
        pass
    child.kill()
    child.wait()
print(f"ESCAPED: {found}" if found else "contained")
