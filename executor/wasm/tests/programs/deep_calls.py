# why: C calls in C calls go as deep as natively
# expect: exit 0
import functools
import sys


def plain(n):
    return plain(n + 1)


try:
    plain(0)
except RecursionError as error:
    print(error)
sys.setrecursionlimit(10**6)


class Node:
    def __init__(self, n):
        self.child = Node(n - 1) if n else None


@functools.lru_cache(None)
def cached(n):
    return 0 if n == 0 else 1 + cached(n - 1)


Node(10_000)
print(cached(10_000))
# stdout: maximum recursion depth exceeded
# stdout: 10000
