# why: programs set limits of their own before they begin
# expect: exit 0
import resource
import sys
sys.setrecursionlimit(10**6)
resource.setrlimit(resource.RLIMIT_STACK, (2**29, resource.RLIM_INFINITY))
print(resource.getrlimit(resource.RLIMIT_STACK), resource.getrusage(resource.RUSAGE_SELF).ru_utime < 1)
# stdout: (536870912, -1) True
