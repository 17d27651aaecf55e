# row:    D2, D3
# expect: Limit(cpu_time)
# limits: wall=12s cpu=1s
# usage:  cpu<=5s wall<=11s
# wasm:   raises AttributeError: module 'signal' has no attribute 'pthread_sigmask'
# why:    the kernel's polite signal at the limit can be ignored, the end cannot
import signal

for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True:
    pass
