# why: one object larger than everything is the memory limit too
# expect: limit memory
x = bytearray(1 << 31)
