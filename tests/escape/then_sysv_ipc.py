# row:     B2, warm
# expect:  Exited(0)
# stdout:  contained
# wasm:    raises ModuleNotFoundError: No module named '_ctypes'
# why:     System V memory, semaphores and queues stay when their maker ends; so nobody may make them
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
IPC_CREAT = 0o1000
made = [libc.shmget(0xC0DE, 4096, IPC_CREAT | 0o666), libc.semget(0xC0DE, 1, IPC_CREAT | 0o666), libc.msgget(0xC0DE, IPC_CREAT | 0o666)]
print("planted", made)
# --- then, in the next run ---
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
found = []
if libc.shmget(0xC0DE, 0, 0) >= 0:
    found.append("shared memory")
if libc.semget(0xC0DE, 0, 0) >= 0:
    found.append("semaphores")
if libc.msgget(0xC0DE, 0) >= 0:
    found.append("a queue")
for name in ("shm", "sem", "msg"):
    try:
        if len(open(f"/proc/sysvipc/{name}").readlines()) > 1:
            found.append(f"/proc/sysvipc/{name}")
    except OSError:
        pass
print(f"ESCAPED: {found}" if found else "contained")
