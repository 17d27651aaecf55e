# row:     B2
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# wasm:    raises ModuleNotFoundError: No module named '_ctypes'
# why:     refused when made, which is cheaper than finding and removing it afterwards
import ctypes
import errno

libc = ctypes.CDLL(None, use_errno=True)
IPC_PRIVATE, IPC_CREAT, IPC_RMID = 0, 0o1000, 0
found = []
for name, make, remove in (
    ("shmget", lambda: libc.shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0o600), lambda made: libc.shmctl(made, IPC_RMID, None)),
    ("semget", lambda: libc.semget(IPC_PRIVATE, 1, IPC_CREAT | 0o600), lambda made: libc.semctl(made, 0, IPC_RMID)),
    ("msgget", lambda: libc.msgget(IPC_PRIVATE, IPC_CREAT | 0o600), lambda made: libc.msgctl(made, IPC_RMID, None)),
):
    made = make()
    if made >= 0:
        remove(made)
        found.append(name)
    elif ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        found.append(f"{name} is reached: {errno.errorcode[ctypes.get_errno()]}")
print(f"ESCAPED: {found}" if found else "contained")
