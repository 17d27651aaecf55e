# row:    D2
# expect: Limit(cpu_time)
# limits: wall=10s cpu=1s
# usage:  cpu<=3s wall<=9s
# why:    processor time has a limit of its own
while True:
    pass
