# row:    C5
# expect: Limit(output)
# stdout~: x+
# limits: stdout=64KiB
# why:    one byte over the cap is over the cap, even when the program ends well before anybody reads it
import os

os.write(1, b"x" * 65536)
os.write(1, b"x")
