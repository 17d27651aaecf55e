# row:    D11
# expect: Signaled(SIGKILL)
# stdout: before
# why:    its own SIGKILL is no limit's
import os
import signal

print("before", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
