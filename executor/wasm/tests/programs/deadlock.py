# why: what waits for nobody is over at once, by its limit on wall time
# expect: limit wall_time
import threading
lock = threading.Lock()
lock.acquire()
lock.acquire()
