# row:    C6, reliability
# expect: Exited(0)
# stdout: contained
# limits: wall=20s
# wasm:   raises AttributeError: module 'os' has no attribute 'fchdir'
# why:    closed folders, thousands of levels, odd names and FIFOs must not trouble whoever clears up
import os

depth = 0
start = os.open(".", os.O_RDONLY)
try:
    while depth < 3000:
        os.mkdir("d")
        os.chdir("d")
        depth += 1
except OSError:
    pass
os.chmod(".", 0)
os.fchdir(start)
for name in (b"\xff\xfe", b"new\nline", b"-rf", b" ", b"*", b"x" * 255, b"\x1b[2J"):
    try:
        os.mkdir(b"/tmp/" + name)
        os.mkfifo(b"/tmp/" + name + b"/fifo" if len(name) < 250 else b"/tmp/fifo")
        os.chmod(b"/tmp/" + name, 0)
    except OSError:
        pass
os.mkdir("/mnt/sticky")
os.chmod("/mnt/sticky", 0o1000)
print("contained" if depth > 1000 else f"ESCAPED: only {depth} levels, the test is weak")
