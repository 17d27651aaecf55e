# row:    C4
# expect: Exited(0) | Limit(memory)
# stdout~: (contained\n)?
# limits: memory=128MiB
# wasm:   raises AttributeError: module 'os' has no attribute 'pipe'
# why:    twelve processes have the memory of one, not of twelve
import os
import signal
import time

read, write = os.pipe()
for _ in range(12):
    if os.fork() == 0:
        blocks = []
        try:
            while len(blocks) < 120:
                blocks.append(bytearray(b"x") * (1 << 20))
                os.write(write, b"x")
        except MemoryError:
            pass
        signal.pause()
time.sleep(1.5)
os.set_blocking(read, False)
got = len(os.read(read, 10000))
print("contained" if got <= 192 else f"ESCAPED: {got} MiB")
