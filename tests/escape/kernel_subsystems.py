# row:     A5, A4
# expect:  Exited(0)
# stdout:  contained
# needs:   x86_64
# control: escapes
# wasm:    raises ModuleNotFoundError: No module named '_ctypes'
# why:     each of these calls is a large part of the kernel with a history of holes, and no use in a judge
import ctypes
import errno

libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(256)
calls = {
    "bpf": (321, (0, buffer, 128)),
    "perf_event_open": (298, (buffer, 0, -1, -1, 0)),
    "userfaultfd": (323, (1,)),
    "init_module": (175, (buffer, 16, b"")),
    "finit_module": (313, (0, b"", 0)),
    "delete_module": (176, (b"x", 0)),
    "kexec_load": (246, (0, 0, None, 0)),
    "kexec_file_load": (320, (0, 0, 0, None, 0)),
    "swapon": (167, (b"/tmp/x", 0)),
    "swapoff": (168, (b"/tmp/x",)),
    "acct": (163, (None,)),
    "quotactl": (179, (0, None, 0, None)),
    "syslog": (103, (10, None, 0)),
    "sethostname": (170, (b"x", 1)),
    "setdomainname": (171, (b"x", 1)),
    "iopl": (172, (3,)),
    "ioperm": (173, (0, 1, 1)),
    "modify_ldt": (154, (0, buffer, 16)),
    "settimeofday": (164, (buffer, None)),
    "clock_settime": (227, (0, buffer)),
    "adjtimex": (159, (buffer,)),
    "clock_adjtime": (305, (0, buffer)),
    "vhangup": (153, ()),
    "io_setup": (206, (1, ctypes.create_string_buffer(8))),
    "vmsplice": (278, (1, buffer, 0, 0)),
    "fanotify_init": (300, (0, 0)),
    "lookup_dcookie": (212, (0, buffer, 16)),
    "seccomp": (317, (1, 0, None)),
    "memfd_secret": (447, (0,)),
    "landlock_create_ruleset": (444, (None, 0, 1)),
    "set_mempolicy_home_node": (450, (0, 0, 0, 0)),
    "mseal": (462, (0, 0, 0)),
    "lsm_list_modules": (461, (buffer, buffer, 0)),
    "map_shadow_stack": (453, (0, 4096, 0)),
    "cachestat": (451, (0, buffer, buffer, 0)),
}
found = []
for name, (number, arguments) in calls.items():
    if libc.syscall(number, *arguments) >= 0:
        found.append(name)
    elif ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        found.append(f"{name} is reached: {errno.errorcode[ctypes.get_errno()]}")
print(f"ESCAPED: {found}" if found else "contained")
