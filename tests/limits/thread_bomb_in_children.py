# row:    C1
# expect: Exited(0)
# stdout: contained
# limits: memory=1GiB
# wasm:   raises AttributeError: module 'os' has no attribute 'pipe'
# why:    the limit is one for the whole run, not one for each process
import os
import threading
import time

threading.stack_size(65536)
read, write = os.pipe()
for _ in range(20):
    try:
        if os.fork():
            continue
    except OSError:
        break
    started = 1
    try:
        for _ in range(100):
            threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
            started += 1
    except RuntimeError:
        pass
    os.write(write, b"%4d" % started)
    time.sleep(30)
time.sleep(1)
os.set_blocking(read, False)
total = sum(map(int, os.read(read, 4000).decode().split()))
os.write(1, b"contained\n" if total <= 64 else b"ESCAPED: %d tasks\n" % total)
os._exit(0)
