# row:    B2, warm
# expect: Exited(0)
# stdout: contained
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    a named semaphore and shared memory of multiprocessing are files that their maker forgets to remove
import ctypes
import os
from multiprocessing import shared_memory

libc = ctypes.CDLL(None, use_errno=True)
libc.sem_open.restype = ctypes.c_void_p
libc.sem_open(b"/planted", os.O_CREAT, 0o666, 1)
memory = shared_memory.SharedMemory("planted", create=True, size=4096)
memory.buf[:7] = b"planted"
print("planted", flush=True)
os._exit(0)
# --- then, in the next run ---
import ctypes
import os
from multiprocessing import shared_memory

libc = ctypes.CDLL(None, use_errno=True)
libc.sem_open.restype = ctypes.c_void_p
found = os.listdir("/dev/shm")
if libc.sem_open(b"/planted", 0):
    found.append("semaphore")
try:
    shared_memory.SharedMemory("planted")
    found.append("shared memory")
except FileNotFoundError:
    pass
print(f"ESCAPED: {found}" if found else "contained")
