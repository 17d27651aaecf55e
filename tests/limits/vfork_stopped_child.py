# row:    D3
# expect: Limit(wall_time)
# needs:  x86_64
# limits: wall=500ms
# usage:  wall<=5s
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    the parent of a vfork sleeps in the kernel until its child, which is stopped, goes on
import ctypes
import mmap

# vfork; in the child: kill(getpid(), SIGSTOP), then the same again
code = bytes.fromhex(
    "b83a000000" "0f05"  # mov eax, 58 (vfork); syscall
    "85c0" "7515"        # test eax, eax; jnz +21
    "b827000000" "0f05"  # mov eax, 39 (getpid); syscall
    "89c7"               # mov edi, eax
    "be13000000"         # mov esi, 19 (SIGSTOP)
    "b83e000000" "0f05"  # mov eax, 62 (kill); syscall
    "ebe9"               # jmp to getpid
    "c3"                 # ret
)
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
print("ESCAPED: the child went on")
