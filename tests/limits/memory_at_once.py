# row:    C2
# expect: Exited(0)
# stdout: contained
# limits: memory=128MiB
# why:    a demand beyond all reason fails at once and costs nothing
found = []
for size in (1 << 30, 1 << 40, 1 << 62):
    try:
        bytearray(size)
        found.append(size)
    except (MemoryError, OverflowError):
        pass
print(f"ESCAPED: {found}" if found else "contained")
