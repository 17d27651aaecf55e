# row:    B5
# expect: Exited(0)
# first:  Exited(0)
# stdout: contained
# wasm:   raises FileNotFoundError: [Errno 44] No such file or directory: '/proc'
# why:    a run at the same time is neither seen, nor stopped, nor slowed down on purpose
import os
import time

children = [os.fork() for _ in range(3)]
if 0 in children:
    time.sleep(5)
    os._exit(0)
time.sleep(1)
for child in children:
    os.kill(child, 9)
    status = os.waitpid(child, 0)[1]
    assert os.WTERMSIG(status) == 9
# --- beside it, in another run ---
import os
import signal

found = sorted({int(name) for name in os.listdir("/proc") if name.isdigit()} - {os.getpid()})
for pid in range(2, 400):
    if pid != os.getpid():
        try:
            os.kill(pid, signal.SIGSTOP)
            found.append(f"stopped {pid}")
        except OSError:
            pass
print(f"ESCAPED: {found}" if found else "contained")
