# row:    A4
# expect: Exited(0)
# stdout: contained
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    what was dropped stays dropped: ids, capabilities, securebits
import ctypes
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)
found = []
for name in ("setuid", "setgid", "seteuid", "setegid"):
    for wanted in (0, 1, 65534):
        try:
            getattr(os, name)(wanted)
            found.append(f"{name}({wanted})")
        except OSError:
            pass
for call in (lambda: os.setresuid(0, 0, 0), lambda: os.setresgid(0, 0, 0), lambda: os.setgroups([0]),
             lambda: os.setreuid(0, 0), lambda: os.initgroups("root", 0)):
    try:
        call()
        found.append("an id of root")
    except OSError:
        pass
header = struct.pack("Ii", 0x20080522, 0)
for bits in (1 << 21, 0xFFFFFFFF, 1):
    wanted = struct.pack("6I", bits, bits, bits, 0, 0, 0)
    if libc.capset(header, wanted) == 0:
        found.append(f"capset {bits:#x}")
PR_SET_KEEPCAPS, PR_SET_SECUREBITS, PR_CAP_AMBIENT, PR_SET_MM = 8, 28, 47, 35
for option, arguments in ((PR_SET_KEEPCAPS, (1,)), (PR_SET_SECUREBITS, (0,)), (PR_CAP_AMBIENT, (2, 21)), (PR_SET_MM, (6, 0))):
    if libc.prctl(option, *[ctypes.c_ulong(value) for value in arguments], *[ctypes.c_ulong(0)] * (4 - len(arguments))) == 0:
        found.append(f"prctl {option}")
status = dict(line.split(":\t", 1) for line in open("/proc/self/status") if ":\t" in line)
if any(int(status[name], 16) for name in ("CapPrm", "CapEff", "CapAmb", "CapBnd")):
    found.append("capabilities are back")
print(f"ESCAPED: {found}" if found else "contained")
