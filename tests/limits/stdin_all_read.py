# row:    D5
# expect: Exited(0)
# stdout: 33554432
# stdin:  "0123456789abcde\n"*2MiB
# limits: memory=512MiB
# why:    32 MiB of input arrive whole
import sys

print(len(sys.stdin.buffer.read()))
