# row:    C2
# expect: Exited(1) | Limit(memory)
# stdout:
# stderr~: (.*\nMemoryError\n)?
# limits: memory=128MiB
# why:    the program that does not expect it dies of an ordinary MemoryError, or is ended by name
x = [0]
while True:
    x += x
