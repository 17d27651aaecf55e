# row:    A6
# expect: Exited(0)
# stdout: contained
# needs:  ia32
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    the same from a forked child and from a thread: the filter is theirs too
import ctypes
import mmap
import os
import signal
import threading

code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
getpid = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
found = []
for way in ("child", "thread of a child"):
    child = os.fork()
    if child == 0:
        if way == "child":
            getpid()
        else:
            thread = threading.Thread(target=getpid)
            thread.start()
            thread.join()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS):
        found.append(f"{way}: status {status}")
print(f"ESCAPED: {found}" if found else "contained")
