# row:    E1
# expect: InvalidRequest
# files:  ../escaped.txt=hello
# why:    a file goes into the working directory or nowhere
print("never run")
