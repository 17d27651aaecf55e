# row:    C5
# expect: Limit(output)
# limits: wall=20s
# wasm:   raises AttributeError: module 'os' has no attribute 'fork'
# why:    the same at the default cap of 16 MiB, from two processes at once
import os

os.fork()
while True:
    os.write(1, b"x" * 65536)
