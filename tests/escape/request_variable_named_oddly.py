# row:    E1
# expect: InvalidRequest
# env:    LD_PRELOAD=/x=value
# why:    a name with an equals sign would set another variable than the one that was checked
print("never run")
