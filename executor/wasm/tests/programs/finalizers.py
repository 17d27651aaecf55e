# why: an interpreter's end: atexit functions, then finalizers, which may still print
# expect: exit 1
# stderr: message
import atexit
import sys


class FastIO:
    def __init__(self):
        self.lines = []

    def __del__(self):
        print("".join(self.lines), end="")


out = FastIO()


def put(text):
    out.lines.append(text)


atexit.register(print, "atexit")
put("written late\n")
print("now")
sys.exit("message")
# stdout: now
# stdout: atexit
# stdout: written late
