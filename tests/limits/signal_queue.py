# row:    C7
# expect: Exited(0)
# stdout: contained
# needs:  x86_64
# wasm:   raises ModuleNotFoundError: No module named '_ctypes'
# why:    queued signals and timers are kernel memory, counted for the user: 256 of them
import ctypes
import os
import signal

libc = ctypes.CDLL(None, use_errno=True)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN})
queued = 0
while queued < 100000 and libc.sigqueue(os.getpid(), signal.SIGRTMIN, ctypes.c_void_p(0)) == 0:
    queued += 1
timers = 0
timer = ctypes.c_void_p()
while timers < 100000 and libc.timer_create(1, None, ctypes.byref(timer)) == 0:
    timers += 1
print("contained" if queued <= 256 and timers <= 256 else f"ESCAPED: {queued} signals, {timers} timers")
