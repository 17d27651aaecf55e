# row:    D5, C5
# expect: Exited(0)
# stdout~: [0-9a-e\n]+
# stdin:  "0123456789abcde\n"*256KiB
# why:    input and output at the same time, each larger than a pipe: nobody waits for the other
import sys

for line in sys.stdin:
    sys.stdout.write(line)
