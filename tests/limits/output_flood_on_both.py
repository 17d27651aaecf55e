# row:    C5, D1
# expect: Limit(output)
# limits: wall=10s stdout=4MiB
# why:    neither stream's flood starves the other's reader
import os

while True:
    os.write(2, b"e" * 65536)
    os.write(1, b"o" * 4096)
