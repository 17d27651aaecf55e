# why: memory beyond the limit is that limit, however it is asked for
# expect: limit memory
kept = []
while True:
    kept.append(bytearray(1 << 20))
