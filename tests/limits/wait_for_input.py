# row:    D1, D5
# expect: Limit(wall_time)
# limits: wall=500ms
# usage:  wall<=5s
# wasm:   raises AttributeError: module 'os' has no attribute 'pipe'
# why:    a lock that nobody releases, a pipe that nobody writes to
import os
import threading

read, write = os.pipe()
threading.Thread(target=os.read, args=(read, 1), daemon=True).start()
lock = threading.Lock()
lock.acquire()
lock.acquire()
