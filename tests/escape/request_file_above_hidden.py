# row:    E1
# expect: InvalidRequest
# files:  a/../../escaped.txt=hello
# why:    wherever in the path the dots are
print("never run")
