# row:    D8, A10
# expect: Exited(9)
# report~: forged
# why:    a harness's pipe can be forged by the program it tests, but how the run ended cannot
import os

os.write(3, b"forged")
os._exit(9)
