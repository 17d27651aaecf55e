# row:     A11, B8
# expect:  Exited(0)
# stdout:  contained
# args:    {host}
# limits:  wall=60s
# why:     nothing of an earlier run or of the service is anywhere in the interpreter's memory, of which a program can read every byte
import os

planted = "planted-" + "by-an-earlier-run"
# Everywhere: in pages of the snapshot, in pages that are new, and on the stack when the run ends.
keep = [planted.encode() + b"%d" % number for number in range(200000)]
large = (planted + "0123456789abcdef") * 500000
os.mkdir("folder")
open("folder/file", "w").write(large[:1000000])
print(large[:20])


def end(depth, text):
    if depth == 0:
        os._exit(0)
    end(depth - 1, f"{planted}{depth}")


os.write(1, b"planted\n")
end(500, "")
# --- then, in the next run ---
import json
import opcode
import struct
import sys


def memory(size):
    """The first `size` bytes of all memory, as a bytearray: a forged one, handed out by code that loads a constant from
    far behind its constants."""
    forged = struct.pack("<7I", 1 << 20, id(bytearray), size, size, 0, 0, 0)
    content = bytes.__basicsize__ - 1
    pointer = struct.pack("<I", id(forged) + content)

    def take():
        return None

    constants = take.__code__.co_consts
    index = (id(pointer) + content - id(constants) - tuple.__basicsize__) >> 2 & 0x3FFFFFFF
    code = bytes([opcode.opmap["RESUME"], 0])
    for shift in (24, 16, 8):
        code += bytes([opcode.opmap["EXTENDED_ARG"], index >> shift & 255])
    code += bytes([opcode.opmap["LOAD_CONST"], index & 255, opcode.opmap["RETURN_VALUE"], 0])
    take.__code__ = take.__code__.replace(co_code=code)
    return take(), (forged, pointer)


secret = json.loads(sys.argv[1])["environment_backwards"][::-1].encode()
# Backwards, so that looking for it does not find this text.
earlier = b"nur-reilrae-na-yb-detnalp"[::-1]
own = b"nur-siht-yb-detnalp"[::-1]
keep = [own + b"%d" % number for number in range(1000)]
# Memory that was beyond the end and is now this run's, in part without being written to.
new = bytearray(64 << 20)
new.append(1)
end = (max(id(object()), id(new), id(bytes(1 << 21))) | 0xFFFF) + 1
all_of_it, _ = memory(end)


def times(needle):
    """How often it is there with something behind it; looked for, it has a zero there."""
    found, at = 0, all_of_it.find(needle)
    while at >= 0:
        found += all_of_it[at + len(needle)] in b"0123456789abcdef-\""
        at = all_of_it.find(needle, at + 1)
    return found


if times(own) < 1000:
    print("this does not look into memory")
elif times(earlier) or times(secret):
    print(f"ESCAPED: {times(earlier)} traces of an earlier run, {times(secret)} of the service")
else:
    print("contained")
