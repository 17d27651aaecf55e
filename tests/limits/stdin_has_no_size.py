# row:    A10, D5
# expect: Exited(0)
# stdout: True 0 b'' 6
# stdin:  12345\n
# wasm:   Exited(0)
# why:    input is a pipe on both paths, so a program that asks for its size hears 0; reading to the end gets all of it
import os
import stat

about = os.fstat(0)
print(stat.S_ISFIFO(about.st_mode), about.st_size, os.read(0, about.st_size), len(os.read(0, 65536)))
