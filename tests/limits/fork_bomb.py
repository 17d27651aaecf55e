# row:    C1
# expect: Exited(0)
# stdout: contained
# wasm:   raises AttributeError: module 'os' has no attribute 'fork'
# why:    processes that wait: only as many as the limit says can exist, and the program can tell
import os
import signal

children = []
try:
    for _ in range(1000):
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
except OSError:
    pass
print("contained" if len(children) <= 64 else f"ESCAPED: {len(children)} children")
