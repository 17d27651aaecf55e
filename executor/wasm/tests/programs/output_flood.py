# why: output beyond its cap ends the run
# expect: limit output
while True:
    print("x" * 65536)
