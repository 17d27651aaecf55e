# row:     A1
# expect:  Exited(0)
# stdout:  contained
# args:    {host}
# control: escapes
# why:     a file that any user of the host may read does not exist inside
import json
import os
import sys

host = json.loads(sys.argv[1])
found = []
for secret in host["secrets"]:
    for path in (secret, "/proc/self/root" + secret, "/proc/self/cwd/../.." + secret, "../../../.." + secret):
        try:
            found.append(f"{path} says {open(path).read()[:9]!r}")
        except OSError:
            pass
    if os.path.exists(os.path.dirname(secret)):
        found.append(f"{os.path.dirname(secret)} is there")
print(f"ESCAPED: {found}" if found else "contained")
