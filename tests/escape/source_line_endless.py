# row:    E1
# expect: Exited(0) | Exited(1) | Limit(memory) | Limit(wall_time) | Limit(cpu_time)
# limits: wall=10s
# expand: LIST="0,"*1MiB
# why:    one line of a million numbers
x = [LIST]
print(len(x))
