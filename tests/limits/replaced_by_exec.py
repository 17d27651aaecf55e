# row:    D1
# expect: Limit(wall_time)
# stdout: before
# limits: wall=1s
# usage:  wall<=5s
# wasm:   raises AttributeError: module 'os' has no attribute 'execv'
# why:    the process that another program takes over is still the same run
import os

print("before", flush=True)
os.execv("/bin/sh", ["sh", "-c", "while :; do sleep 1; done"])
