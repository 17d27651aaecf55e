# why: threads that start threads end with a limit, not with the worker
# expect: limit cpu_time
# cpu_time_ms: 300
import threading

while True:
    threading.Thread(target=lambda: None).start()
