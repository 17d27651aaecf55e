# row:    E1
# expect: InvalidRequest
# files:  /etc/codejury-hostile-mark=hello
# why:    an absolute path outside the run's own folders is no place for a file
print("never run")
