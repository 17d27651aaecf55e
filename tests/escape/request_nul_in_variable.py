# row:    E1
# expect: InvalidRequest
# env:    NAME=va\x00lue
# why:    so would a variable
print("never run")
