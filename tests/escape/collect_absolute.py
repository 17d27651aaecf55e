# row:     A1, E1
# expect:  InvalidRequest
# collect: /etc/passwd
# why:     an absolute path is refused before anything runs
print("never run")
