# row:    E1
# expect: Exited(0)
# stdout: 3145728
# expand: TEXT="x"*3MiB
# why:    three megabytes of program are no special case
print(len("TEXT"))
