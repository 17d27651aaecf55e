# row:    B8, warm
# expect: Exited(0)
# stdout: contained
# stdin:  standard-input-of-this-run\n
# limits: wall=20s
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    source and input of one run are nowhere in the memory that the next one starts with
import os

planted = "planted-" + "by-the-program"
# No file: the next run must come to the same interpreter.
keep = [planted.encode() + b"%d" % number for number in range(1000)]
input()
os.write(1, b"planted\n")
os._exit(0)
# --- then, in the next run ---
import ctypes

found = []
# Looked for backwards, so that the search does not find itself.
wanted = [text[::-1] for text in (b"margorp-eht-yb-detnalp", b"0001(egnar ni rebmun rof")]
for line in open("/proc/self/maps"):
    area, mode = line.split()[:2]
    if not mode.startswith("r") or "[v" in line:
        continue
    begin, end = (int(number, 16) for number in area.split("-"))
    for at in range(begin, end, 1 << 20):
        text = ctypes.string_at(at, min((1 << 20) + 64, end - at))
        for needle in wanted:
            where = text.find(needle)
            while where >= 0:
                # In the earlier run something follows; here, where the needle is looked for, a zero.
                if text[where + len(needle) : where + len(needle) + 1] in (b")", b"0", b"1", b"9"):
                    found.append(f"{needle!r} at {at + where:#x}")
                where = text.find(needle, where + 1)
print(f"ESCAPED: {found}" if found else "contained")
