# row:    E1
# expect: InvalidRequest
# limits: tasks=0
# why:    a run is a task: none is none
print("never run")
