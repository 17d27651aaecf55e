# row:    D11
# expect: Signaled(SIGSYS)
# why:    it wanted to be told so
import os
import signal

os.kill(os.getpid(), signal.SIGSYS)
