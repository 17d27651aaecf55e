# why: a stack that overflows is the signal it is natively
# expect: signal 11
import functools
import sys
sys.setrecursionlimit(10**6)


@functools.lru_cache(None)
def cached(n):
    return 0 if n == 0 else 1 + cached(n - 1)


cached(200_000)
