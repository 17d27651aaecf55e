# row:     A6
# expect:  Signaled(SIGSYS)
# stdout:
# needs:   ia32
# control: escapes
# wasm:    raises ModuleNotFoundError: No module named '_ctypes'
# why:     32-bit calls have other numbers; a filter that reads them as 64-bit ones lets mount pass as something harmless
import ctypes
import mmap
import os

# mov eax, 20 (getpid in the 32-bit table); int 0x80; ret
code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
getpid = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
print("ESCAPED: a 32-bit call answers", getpid() == os.getpid())
