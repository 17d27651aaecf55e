# row:    D5
# expect: Exited(0)
# stdout: contained
# stdin:  "0123456789abcdef"*2MiB
# usage:  wall<=5s
# why:    32 MiB that nobody reads neither block the run nor make it fail
print("contained")
