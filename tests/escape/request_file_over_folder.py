# row:    E1
# expect: InvalidRequest
# files:  a/b=one a=two
# why:    a request that contradicts itself is the caller's error, not ours
print("never run")
