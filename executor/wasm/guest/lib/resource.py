"""Limits as a program may ask for and set; nothing is behind them here, where the host sets limits."""
import collections
import time

RLIM_INFINITY = -1
(RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_CORE, RLIMIT_RSS, RLIMIT_NPROC, RLIMIT_NOFILE,
 RLIMIT_MEMLOCK, RLIMIT_AS, _, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE, RLIMIT_NICE, RLIMIT_RTPRIO,
 RLIMIT_RTTIME) = range(16)
RLIMIT_OFILE = RLIMIT_NOFILE
RUSAGE_SELF, RUSAGE_CHILDREN, RUSAGE_THREAD = 0, -1, 1
error = OSError

struct_rusage = collections.namedtuple("struct_rusage", (
    "ru_utime ru_stime ru_maxrss ru_ixrss ru_idrss ru_isrss ru_minflt ru_majflt ru_nswap ru_inblock ru_oublock "
    "ru_msgsnd ru_msgrcv ru_nsignals ru_nvcsw ru_nivcsw"))
_limits = {}


def getrlimit(resource):
    if not 0 <= resource < 16:
        raise ValueError("invalid resource specified")
    return _limits.get(resource, (RLIM_INFINITY, RLIM_INFINITY))


def setrlimit(resource, limits):
    getrlimit(resource)
    soft, hard = limits
    _limits[resource] = (int(soft), int(hard))


def getrusage(who):
    used = time.process_time() if who in (RUSAGE_SELF, RUSAGE_THREAD) else 0.0
    return struct_rusage(used, *(0,) * 15)


def getpagesize():
    return 65536
