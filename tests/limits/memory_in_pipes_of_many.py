# row:    C3, C4
# expect: Exited(0) | Limit(memory)
# stdout~: (contained\n)?
# limits: memory=64MiB
# wasm:   raises AttributeError: module 'os' has no attribute 'pipe'
# why:    the same in pipes, whose pages the kernel counts for the user
import os
import signal
import time

read, write = os.pipe()
for _ in range(20):
    if os.fork() == 0:
        pipes = []
        try:
            while True:
                one, other = os.pipe()
                pipes.append((one, other))
                os.set_blocking(other, False)
                try:
                    while True:
                        os.write(write, b"%9d" % os.write(other, b"x" * 65536))
                except BlockingIOError:
                    pass
        except OSError:
            pass
        signal.pause()
got = 0
os.set_blocking(read, False)
until = time.monotonic() + 2
while time.monotonic() < until:
    try:
        got += int(os.read(read, 9))
    except BlockingIOError:
        time.sleep(0.01)
print("contained" if got >> 20 <= 96 else f"ESCAPED: {got >> 20} MiB")
