# row:    D3, C2
# expect: Signaled(SIGSEGV) | Exited(1) | Limit(memory)
# limits: memory=512MiB
# why:    recursion without end and without a recursion limit
import sys

sys.setrecursionlimit(1 << 30)


class Deep:
    def __getattr__(self, name):
        return getattr(self, name + "x")


Deep().a
