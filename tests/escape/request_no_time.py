# row:    E1
# expect: InvalidRequest | Limit(wall_time) | Limit(cpu_time)
# limits: wall=0s
# why:    no time at all is refused or used up, and divides nothing by zero
print("never run, or hardly")
