# row:    D8
# expect: Exited(2)
# stdout~: .*
# wasm:   raises AttributeError: module 'os' has no attribute 'fork'
# why:    the main process's end counts, not that of a copy which says all went well
import os
import sys

child = os.fork()
if child == 0:
    os.setsid()
    sys.exit(0)
os.waitpid(child, 0)
os._exit(2)
