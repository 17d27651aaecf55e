# why: os.abort is the signal it is natively
# expect: signal 6
# stdout: before
import os

print("before", flush=True)
os.abort()
