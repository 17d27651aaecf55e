# row:    D11
# expect: Signaled(SIGALRM)
# limits: wall=5s
# usage:  wall<=4s
# wasm:   raises AttributeError: module 'signal' has no attribute 'alarm'
# why:    an alarm clock of its own is no wall limit
import signal

signal.alarm(1)
signal.pause()
