# row:    E1
# expect: InvalidRequest | Exited(0)
# files:  a=one a=two
# why:    refused, or one of the two wins
print("one of the two")
