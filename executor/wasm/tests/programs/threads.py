# why: a thread is like a native one, but that it has ended when start() returns
# expect: exit 0
import threading
import time

seen = []


def work(i):
    seen.append((i, threading.current_thread().name, threading.get_ident() != threading.main_thread().ident))


threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(seen, threading.current_thread().name, threading.active_count())

threading.stack_size(2**27)


def deep(n):
    return n if n == 0 else 1 + deep(n - 1)


import sys
sys.setrecursionlimit(10**6)
main = threading.Thread(target=lambda: print(deep(50_000)))
main.start()
main.join()

local = threading.local()
local.x = 1


def other():
    print(hasattr(local, "x"))
    local.x = 2


threading.Thread(target=other).start()
print(local.x)

before = time.monotonic()
print(threading.Event().wait(0.5), round(time.monotonic() - before, 1))
lock = threading.Lock()
lock.acquire()
print(lock.acquire(timeout=0.25), lock.locked())
timer = threading.Timer(0.1, print, ["timer"])
timer.start()
timer.join()
# stdout: [(0, 'Thread-1 (work)', True), (1, 'Thread-2 (work)', True)] MainThread 1
# stdout: 50000
# stdout: False
# stdout: 1
# stdout: False 0.5
# stdout: False True
# stdout: timer
