# why: a thread that waits for the one that started it needs threads that run side by side
# expect: exit 1
# stderr: this interpreter has no threading
import queue
import threading
jobs = queue.Queue()


def worker():
    while True:
        print(jobs.get())
        jobs.task_done()


threading.Thread(target=worker, daemon=True).start()
jobs.put(1)
jobs.join()
