# row:    D4, warm
# expect: Exited(0)
# stdout: contained
# first:  Exited(0)
# wasm:   raises FileNotFoundError: [Errno 44] No such file or directory: '/proc'
# why:    a process that forks itself away all the time is never the one that gets killed, unless all are killed
import os
import time

if os.fork() == 0:
    os.setsid()
    while True:
        try:
            if os.fork() != 0:
                os._exit(0)
        except OSError:
            pass
time.sleep(0.2)
print("planted")
# --- then, in the next run ---
import os
import time

time.sleep(0.1)
others = {int(name) for name in os.listdir("/proc") if name.isdigit()} - {os.getpid()}
print(f"ESCAPED: {others}" if others else "contained")
