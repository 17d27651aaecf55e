# row:    E1
# expect: Exited(0)
# stdout: contained
# args:   \xff\xfe \xed\xb2\x80 -c --
# why:    bytes that are no UTF-8, halves of surrogate pairs and options reach the program as its arguments
import os
import sys

args = [os.fsencode(arg) for arg in sys.argv[1:]]
print("contained" if args == [b"\xff\xfe", b"\xed\xb2\x80", b"-c", b"--"] else f"ESCAPED: {args}")
