# Runs once in the zygote, before anything is forked and before it is locked down. What is left in
# the interpreter afterwards is what a cold one has when it opens its program, and nothing else that
# a program could see.
#
# In: path, finish (called last at exit). Out: objects, freeze_count, unfreeze, frozen,
# streams, suspended, weak, stdout, stderr, exit_keeps_error.
import sys

seen = set(sys.modules)
import _io, atexit, gc

if "t" in getattr(sys, "abiflags", ""):
    raise RuntimeError("free-threaded builds have other objects")

# What python does with its program before running it.
main = sys.modules["__main__"].__dict__
main["__file__"] = path
main["__cached__"] = None
main["__loader__"] = sys.modules["_frozen_importlib_external"].SourceFileLoader("__main__", path)

# Registered first, called last: everything that a program registers comes before.
atexit.register(finish)


async def coroutine():
    pass


async def generator():
    yield


# Not the streams themselves: a reference would keep them from their last flush.
stdout, stderr = id(sys.stdout), id(sys.stderr)
exit_keeps_error = sys.version_info >= (3, 12)
running = coroutine()
suspended = (type(x for x in ()), type(running), type(generator()))
running.close()
streams = (_io.TextIOWrapper, _io.BufferedWriter, _io.BufferedRandom, _io.BufferedRWPair)
streams += (_io.BufferedReader, _io.FileIO)
weak = type(__import__("_weakref").ref(finish.__class__))
objects, freeze_count, unfreeze = gc.get_objects, gc.get_freeze_count, gc.unfreeze

for name in [name for name in sys.modules if name not in seen]:
    del sys.modules[name]
del running, seen, main
gc.collect()
gc.freeze()
frozen = freeze_count()
