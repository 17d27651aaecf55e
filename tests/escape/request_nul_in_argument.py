# row:    E1
# expect: InvalidRequest
# args:   one\x00two
# why:    an argument with a NUL would be cut in two by the kernel
print("never run")
