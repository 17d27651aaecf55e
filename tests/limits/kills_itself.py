# row:    D11
# expect: Signaled(SIGKILL)
# stdout: before
# wasm:   raises AttributeError: module 'os' has no attribute 'kill'
# why:    its own SIGKILL is no limit's
import os
import signal

print("before", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
