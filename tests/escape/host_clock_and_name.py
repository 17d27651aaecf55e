# row:    A5
# expect: Exited(0)
# stdout: contained
# wasm:   raises AttributeError: module 'time' has no attribute 'clock_settime'
# why:    clocks and names belong to everybody on the host
import socket
import time

found = []
for clock in (time.CLOCK_REALTIME, time.CLOCK_MONOTONIC, getattr(time, "CLOCK_TAI", 11)):
    try:
        time.clock_settime(clock, time.clock_gettime(clock))
        found.append(f"set clock {clock}")
    except OSError:
        pass
try:
    socket.sethostname("codejury-hostile")
    found.append("renamed the host")
except OSError:
    pass
print(f"ESCAPED: {found}" if found else "contained")
