# row:    D11
# expect: Signaled(SIGABRT)
# stdout: before
# why:    a signal of the program's own making is told as such
import os

print("before", flush=True)
os.abort()
