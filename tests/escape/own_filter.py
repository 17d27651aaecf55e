# row:     D8, A4
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# wasm:    raises ModuleNotFoundError: No module named '_ctypes'
# why:     with a filter of its own a run could feign errors to what it starts, or notify itself of calls
import ctypes
import struct

libc = ctypes.CDLL(None, use_errno=True)
PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER, PR_SET_MDWE = 22, 2, 38, 36, 65
instruction = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(instruction)))
found = []
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) == 0:
    found.append("prctl")
if libc.syscall(317, 1, 0, program) == 0:
    found.append("seccomp")
if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
    found.append("it is a subreaper")
print(f"ESCAPED: {found}" if found else "contained")
