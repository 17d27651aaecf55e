# row:    C2
# expect: Exited(0) | Limit(memory)
# stdout~: (contained\n)?
# limits: memory=128MiB
# why:    ordinary allocation ends in an exception near the limit
blocks = []
try:
    for _ in range(2048):
        blocks.append(bytearray(1 << 20))
except MemoryError:
    pass
got = len(blocks)
del blocks
print("contained" if got <= 141 else f"ESCAPED: {got} MiB")
