# row:     A5
# expect:  Exited(0)
# stdout:  contained
# control: escapes
# why:     no clock tells when or how fast a program runs: all begin with the run on the first day of 2025, and count its work
import os
import time

begins = {"CLOCK_REALTIME": 1735689600, "CLOCK_MONOTONIC": 1, "CLOCK_PROCESS_CPUTIME_ID": 0, "CLOCK_THREAD_CPUTIME_ID": 0}
found = []


def look(when, passed):
    for name, begin in begins.items():
        if hasattr(time, name):
            read = time.clock_gettime(getattr(time, name)) - begin
            if not 0 <= read - (0 if "CPUTIME" in name else passed) < 2:
                found.append(f"{name} is {read} {when}")
    open("file", "w").close()
    if abs(os.stat("file").st_mtime - begins["CLOCK_REALTIME"] - passed) > 2:
        found.append(f"a file is of {os.stat('file').st_mtime} {when}")


look("at first", 0)
time.sleep(5)
look("after a sleep", 5)
for path in ("/proc/uptime", "/proc/stat", "/proc/self/stat", "/etc/localtime", "/dev/rtc"):
    if os.path.exists(path):
        found.append(path)
for folder in ("/", "/tmp", "."):
    if os.stat(folder).st_mtime > begins["CLOCK_REALTIME"] + 60:
        found.append(f"{folder} is of {os.stat(folder).st_mtime}")
print(f"ESCAPED: {found}" if found else "contained")
