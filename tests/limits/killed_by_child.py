# row:    D11
# expect: Signaled(SIGKILL)
# wasm:   raises AttributeError: module 'os' has no attribute 'fork'
# why:    nor is one that its child sends
import os
import signal
import time

main = os.getpid()
if os.fork() == 0:
    os.kill(main, signal.SIGKILL)
time.sleep(100)
