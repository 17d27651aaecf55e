# row:    D5
# expect: Exited(0)
# stdout: contained
# stdin:  "0123456789abcde\n"*2MiB
# usage:  wall<=5s
# why:    the same when the program stops in the middle
import os
import sys

for _ in range(1000):
    sys.stdin.readline()
os.close(0)
print("contained")
