# row:    C3
# expect: Exited(0) | Limit(memory)
# stdout~: (contained\n)?
# limits: memory=64MiB
# wasm:   raises ModuleNotFoundError: No module named 'fcntl'
# why:    bytes in a pipe are kernel memory; without a cgroup the number and size of pipes bound them
import fcntl
import os

got = 0
pipes = []
try:
    while len(pipes) < 4000:
        pipes.append(os.pipe())
except OSError:
    pass
for read, write in pipes:
    for size in (1 << 20, 1 << 18, 1 << 16):
        try:
            fcntl.fcntl(write, 1031, size)  # F_SETPIPE_SZ
            break
        except OSError:
            pass
    os.set_blocking(write, False)
    try:
        while True:
            got += os.write(write, b"x" * 65536)
    except OSError:
        pass
print("contained" if got >> 20 <= 96 else f"ESCAPED: {got >> 20} MiB in {len(pipes)} pipes")
