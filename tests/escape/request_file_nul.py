# row:    E1
# expect: InvalidRequest
# files:  a\x00b=hello
# why:    a NUL in a path hides what comes after it
print("never run")
