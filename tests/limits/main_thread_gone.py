# row:    D3
# expect: Limit(wall_time)
# needs:  x86_64
# limits: wall=500ms
# usage:  wall<=5s
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    a main thread that ends by itself leaves a process that looks dead and is not
import ctypes
import threading
import time

threading.Thread(target=time.sleep, args=(1000,)).start()
ctypes.CDLL(None).syscall(60, 0)  # exit of this thread alone
