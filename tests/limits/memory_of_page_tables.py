# row:    C7
# expect: Exited(0) | Limit(memory) | Exited(1) | Signaled(SIGSEGV) | Signaled(SIGBUS)
# stdout~: (contained\n)?
# limits: memory=128MiB wall=5s
# why:    one byte touched in every two megabytes costs a page of tables that no process size shows
import ctypes
import mmap

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
MAP_NORESERVE = 0x4000
reserved = 0
for gib in (4096, 512, 64, 16, 4):
    address = libc.mmap(None, gib << 30, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if address != ctypes.c_void_p(-1).value:
        reserved += gib
        for at in range(address, address + (gib << 30), 2 << 20):
            ctypes.memset(at, 1, 1)
print("contained" if reserved == 0 else f"ESCAPED: {reserved} GiB of addresses")
