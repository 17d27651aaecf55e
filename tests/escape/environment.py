# row:     A11
# expect:  Exited(0)
# stdout:  contained
# args:    {host}
# control: escapes
# wasm:    raises FileNotFoundError: [Errno 44] No such file or directory: '/proc'
# why:     the service's variables hold its secrets; a run sees a fixed set and nothing else
import json
import os
import sys

fixed = {"LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
found = []
expected = set(fixed) | {"PATH", "HOME", "TMPDIR"}
if set(os.environ) != expected:
    found.append(f"variables {sorted(set(os.environ) ^ expected)} are too many or missing")
for name, value in fixed.items():
    if os.environ.get(name) != value:
        found.append(f"{name} is {os.environ.get(name)!r}")
secret = json.loads(sys.argv[1])["environment_backwards"][::-1].encode()
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline"):
        try:
            block = open(f"/proc/{pid}/{name}", "rb").read()
        except OSError:
            continue
        if secret in block:
            found.append(f"the service's secret, in {name} of {pid}")
        if name == "environ":
            for entry in block.split(b"\0"):
                if entry.split(b"=")[0].decode() not in expected | {""}:
                    found.append(f"{entry!r} in the environment of {pid}")
print(f"ESCAPED: {found}" if found else "contained")
