# row:    B3, warm
# expect: Exited(0)
# stdout: contained
# needs:  x86_64
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    a user keyring is found again by whoever runs as the same id
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
for ring in (-4, -5, -3, -2, -1):
    libc.syscall(248, b"user", b"planted", b"mark", 4, ctypes.c_long(ring))
print("planted")
# --- then, in the next run ---
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
found = []
for ring in (-4, -5, -3):
    if libc.syscall(250, 10, ctypes.c_long(ring), b"user", b"planted", 0) >= 0:  # search
        found.append(ring)
if libc.syscall(249, b"user", b"planted", None, 0) >= 0:
    found.append("request_key")
print(f"ESCAPED: {found}" if found else "contained")
