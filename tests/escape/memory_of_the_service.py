# row:    A11, B8
# expect: Exited(0)
# stdout: contained
# args:   {host}
# limits: wall=20s
# control: escapes
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    a process forked from the service, or from its helper, would carry their memory along
import ctypes
import json
import sys

secret = json.loads(sys.argv[1])["environment_backwards"]
found = []
for line in open("/proc/self/maps"):
    area, mode = line.split()[:2]
    if not mode.startswith("r") or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
        continue
    begin, end = (int(number, 16) for number in area.split("-"))
    # Looked for in pieces, and compared backwards, so that the search does not find itself.
    piece = 1 << 20
    for at in range(begin, end, piece):
        text = ctypes.string_at(at, min(piece + 64, end - at))
        where = text.find(b"codejury-environment-")
        while where >= 0:
            if text[where : where + len(secret)][::-1] == secret.encode():
                found.append(f"at {at + where:#x} in {line.split()[-1]}")
            where = text.find(b"codejury-environment-", where + 1)
print(f"ESCAPED: {found}" if found else "contained")
