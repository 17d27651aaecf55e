# row:    B5, B7, warm
# expect: Exited(0)
# stdout: contained
# needs:  x86_64
# wasm:   raises AttributeError: module 'os' has no attribute 'umask'
# why:    what fork and exec pass on (mask, priority, limits, timers, processors) starts anew in each run
import ctypes
import os
import resource
import signal

libc = ctypes.CDLL(None, use_errno=True)
os.umask(0o777)
for call in (
    lambda: os.nice(10),
    lambda: os.setpriority(os.PRIO_USER, 0, 15),
    lambda: os.setpriority(os.PRIO_USER, os.getuid(), 15),
    lambda: os.setpriority(os.PRIO_PGRP, 0, 15),
    lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)),
    lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
    lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10)),
    lambda: resource.setrlimit(resource.RLIMIT_CPU, (5, 5)),
    lambda: signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)),
    lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    lambda: signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05),
    lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN),
    lambda: os.chdir("/"),
    lambda: libc.prctl(4, 0),  # not dumpable
    lambda: libc.prctl(29, 100000000),  # timer slack
    lambda: libc.prctl(41, 1),  # no huge pages
    lambda: libc.syscall(251, 1, 0, 3 << 13),  # ioprio_set: idle
):
    try:
        call()
    except OSError:
        pass
print("planted")
# --- then, in the next run ---
import os
import resource
import signal

found = []
if os.umask(0o22) not in (0o22, 0o77, 0o02):
    found.append("umask")
if os.nice(0) != 0 or os.sched_getscheduler(0) != os.SCHED_OTHER:
    found.append(f"priority {os.nice(0)}, scheduler {os.sched_getscheduler(0)}")
if len(os.sched_getaffinity(0)) < min(2, os.cpu_count()):
    found.append("processors")
if resource.getrlimit(resource.RLIMIT_NOFILE)[1] == 10 or resource.getrlimit(resource.RLIMIT_CPU)[1] <= 5:
    found.append("limits")
if signal.pthread_sigmask(signal.SIG_BLOCK, []):
    found.append("signal mask")
for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGALRM):
    if signal.getsignal(number) != signal.SIG_DFL:
        found.append(signal.Signals(number).name)
if signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0):
    found.append("timer")
if not os.access("/proc/self/environ", os.R_OK):
    found.append("not dumpable")
if "THP_enabled:\t0" in open("/proc/self/status").read():
    found.append("huge pages are off")
print(f"ESCAPED: {found}" if found else "contained")
