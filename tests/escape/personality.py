# row:     A4
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# wasm:    raises ModuleNotFoundError: No module named '_ctypes'
# why:     a fixed layout and executable data make every other hole easier
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
before = libc.personality(0xFFFFFFFF)
found = []
for name, flag in (("ADDR_NO_RANDOMIZE", 0x0040000), ("READ_IMPLIES_EXEC", 0x0400000), ("PER_LINUX32", 0x0008)):
    if libc.personality(before | flag) >= 0:
        found.append(name)
print(f"ESCAPED: {found}" if found else "contained")
