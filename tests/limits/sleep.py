# row:    D1
# expect: Limit(wall_time)
# stdout:
# limits: wall=500ms
# usage:  wall<=5s
# why:    who uses no processor time still uses up the wall limit
import time

while True:
    time.sleep(1000)
