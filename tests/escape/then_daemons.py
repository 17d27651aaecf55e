# row:    D4, B5, warm
# expect: Exited(0)
# stdout: contained
# wasm:   raises FileNotFoundError: [Errno 44] No such file or directory: '/proc'
# why:    daemons end with their run; none waits in the cell for the next program
import os
import signal
import time

for number in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))
            while True:
                for place in (".", "/tmp"):
                    try:
                        open(os.path.join(place, "alive"), "w").write(str(os.getpid()))
                    except OSError:
                        pass
                time.sleep(0.01)
        os._exit(0)
time.sleep(0.1)
print("planted")
# --- then, in the next run ---
import os
import time

time.sleep(0.1)
found = [place for place in (".", "/tmp") if os.path.exists(os.path.join(place, "alive"))]
others = {int(name) for name in os.listdir("/proc") if name.isdigit()} - {os.getpid()}
if found or others:
    print(f"ESCAPED: files in {found}, processes {others}")
else:
    print("contained")
