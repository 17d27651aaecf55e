# why: a pool's work is done when it is submitted
# expect: exit 0
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
started = []
with ThreadPoolExecutor(4, initializer=started.append, initargs=(1,)) as pool:
    print(list(pool.map(lambda x: x * x, range(5))))
    futures = [pool.submit(pow, i, 2) for i in range(4)]
    print(sorted(future.result() for future in as_completed(futures)), started)
    print(repr(pool.submit(lambda: 1 / 0).exception()))
    print(pool.submit(lambda: threading.current_thread().name).result())
try:
    pool.submit(print)
except RuntimeError as error:
    print(error)
# stdout: [0, 1, 4, 9, 16]
# stdout: [0, 1, 4, 9] [1]
# stdout: ZeroDivisionError('division by zero')
# stdout: ThreadPoolExecutor-0_0
# stdout: cannot schedule new futures after shutdown
