# row:    D3
# expect: Limit(wall_time)
# limits: wall=500ms
# usage:  wall<=5s
# wasm:   raises AttributeError: module 'os' has no attribute 'kill'
# why:    a stopped process gets no signal but the last one
import os
import signal

os.kill(os.getpid(), signal.SIGSTOP)
print("ESCAPED: continued")
