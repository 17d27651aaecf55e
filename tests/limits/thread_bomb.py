# row:    C1, C6
# expect: Exited(0)
# stdout: contained
# limits: memory=1GiB
# wasm:   raises RuntimeError: a thread waits for its starter: this interpreter has no threading that could let it
# why:    threads are tasks like processes and count with them
import os
import threading

threading.stack_size(65536)
wait = threading.Event()
started = 0
try:
    for _ in range(1000):
        threading.Thread(target=wait.wait, daemon=True).start()
        started += 1
except RuntimeError:
    pass
os.write(1, b"contained\n" if started <= 64 else b"ESCAPED: %d threads\n" % started)
os._exit(0)
