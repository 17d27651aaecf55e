# why: a size beyond 32 bits is one elsewhere, where memory is lacking
# expect: limit memory
# stderr: MemoryError
print([0] * -(10**10), b"" * 0)
[0] * (10**10)
# stdout: [] b''
