# row:    E1
# expect: InvalidRequest
# files:  /tmp/codejury-hostile-mark=hello
# why:    an absolute path is no place in the working directory
print("never run")
