# row:     A11
# expect:  Exited(0)
# stdout:  contained
# args:    {host}
# control: escapes
# why:     neither the service's variables nor anything else that tells where or by whom it was started
import json
import os
import sys

host = json.loads(sys.argv[1])
secret = host["environment_backwards"][::-1]
found = []
expected = {"LANG", "PYTHONHASHSEED", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PATH", "HOME", "TMPDIR"}
if set(os.environ) != expected:
    found.append(f"variables {sorted(set(os.environ) ^ expected)}")
if secret in str(dict(os.environ)):
    found.append("the secret")
for name in ("environ", "cmdline", "status", "mountinfo"):
    for process in ("self", "1", "thread-self"):
        if os.path.exists(f"/proc/{process}/{name}"):
            found.append(f"/proc/{process}/{name}")
for ask in ("getppid", "getuid", "getlogin", "getloadavg", "sched_getaffinity", "getpgid"):
    if hasattr(os, ask):
        try:
            found.append(f"{ask}: {getattr(os, ask)(*((0,) if ask in ('sched_getaffinity', 'getpgid') else ()))}")
        except OSError:
            pass
if os.cpu_count() not in (None, 1):
    found.append(f"{os.cpu_count()} processors")
if hasattr(os, "uname") and os.uname().nodename not in ("", "(none)", "localhost"):
    found.append(f"this is {os.uname()}")
print(f"ESCAPED: {found}" if found else "contained")
