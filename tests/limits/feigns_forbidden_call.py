# row:    D11
# expect: Signaled(SIGSYS)
# wasm:   raises AttributeError: module 'os' has no attribute 'kill'
# why:    it wanted to be told so
import os
import signal

os.kill(os.getpid(), signal.SIGSYS)
