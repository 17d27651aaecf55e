# row:     A1, E1
# expect:  InvalidRequest
# collect: ../../etc/passwd
# why:     a path that leaves the working directory is refused before anything runs
print("never run")
