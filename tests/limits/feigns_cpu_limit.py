# row:    D11, D8
# expect: Signaled(SIGXCPU)
# wasm:   raises AttributeError: module 'os' has no attribute 'kill'
# why:    the signal of the CPU limit without the time used is no CPU limit
import os
import signal

os.kill(os.getpid(), signal.SIGXCPU)
