# Runs once, inside the interpreter whose memory becomes the snapshot (see reactor.c).
#
# Imports what programs import, then hides it: a program finds `sys.modules`, and which submodules
# are attributes of their packages, as a fresh interpreter has them. Importing a hidden module puts
# it, and all that its import has once brought along, where a real import would (import.c, patched).

import builtins
import sys

NAMES = """
array ast asyncio atexit base64 bisect builtins calendar cmath collections collections.abc colorsys
concurrent.futures concurrent.futures.thread configparser contextlib contextvars copy copyreg csv dataclasses datetime decimal difflib
dis doctest email.message encodings.ascii encodings.latin_1 encodings.idna enum errno fnmatch fractions functools gc
getpass gettext glob graphlib hashlib heapq hmac html html.parser http importlib importlib.util inspect io
ipaddress itertools json keyword linecache locale logging marshal math numbers operator os
pathlib pickle platform pprint queue random re reprlib secrets select selectors shlex shutil signal
socket stat statistics string string struct subprocess sys tempfile textwrap threading time timeit tokenize
traceback types typing unicodedata unittest unittest.mock urllib.parse uuid warnings weakref xml.etree.ElementTree
zipfile zlib zoneinfo sched argparse
""".split()

real_import = builtins.__import__
asked = {}  # module -> names that its import statements asked for
brought = {}  # module -> names that were in sys.modules after its first import and not before


def absolute(name, module_globals, level):
    if level == 0:
        return name
    package = module_globals["__package__"].rsplit(".", level - 1)[0]
    return f"{package}.{name}" if name else package


def recording_import(name, module_globals=None, module_locals=None, fromlist=(), level=0):
    full = absolute(name, module_globals, level)
    parent = full.rpartition(".")[0]
    if parent and parent not in sys.modules:
        recording_import(parent)
    before = None if full in sys.modules else set(sys.modules)
    result = real_import(name, module_globals, module_locals, fromlist, level)
    if before is not None:
        brought.setdefault(full, []).extend(key for key in sys.modules if key not in before)
    if module_globals:
        wanted = asked.setdefault(module_globals.get("__name__"), [])
        wanted.append(full)
        wanted.extend(f"{full}.{part}" for part in fromlist or () if f"{full}.{part}" in sys.modules)
    return result


def closure(name):
    """All modules that are there once `name` is imported, itself last."""
    found = {}
    todo = [name]
    while todo:
        this = todo.pop()
        if this in found or this not in sys.modules:
            continue
        found[this] = None
        todo.append(this.rpartition(".")[0])
        todo.extend(asked.get(this, ()))
        todo.extend(brought.get(this, ()))
    return [key for key in found if key not in baseline]


baseline = set(sys.modules)
builtins.__import__ = recording_import
for name in NAMES:
    __import__(name)
builtins.__import__ = real_import

# Threads run to their end when they are started (_threadmodule.c, patched), so a pool's worker, which
# waits for work, would never start any. Work is done when it is submitted, each in a thread that has
# the first worker's name.

pools = sys.modules["concurrent.futures.thread"]


def submit(self, fn, /, *args, **kwargs):
    with self._shutdown_lock, pools._global_shutdown_lock:
        if self._broken:
            raise pools.BrokenThreadPool(self._broken)
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if pools._shutdown:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
    future = pools._base.Future()
    item = pools._WorkItem(future, fn, args, kwargs)

    def work():
        initializer, self._initializer = self._initializer, None
        if initializer is not None:
            try:
                initializer(*self._initargs)
            except BaseException:
                pools._base.LOGGER.critical("Exception in initializer:", exc_info=True)
                self._initializer_failed()
                future.set_exception(pools.BrokenThreadPool(self._broken))
                return
        item.run()

    pools.threading.Thread(name=f"{self._thread_name_prefix or self}_0", target=work).start()
    return future


submit.__doc__ = pools.ThreadPoolExecutor.submit.__doc__
submit.__qualname__ = pools.ThreadPoolExecutor.submit.__qualname__
submit.__module__ = pools.__name__
pools.ThreadPoolExecutor.submit = submit

# Nothing runs beside an event loop that would have to wake it: it needs no pipe to itself.
loops = sys.modules["asyncio.selector_events"]


def _make_self_pipe(self):
    self._ssock = self._csock = None


def _close_self_pipe(self):
    pass


loops.BaseSelectorEventLoop._make_self_pipe = _make_self_pipe
loops.BaseSelectorEventLoop._close_self_pipe = _close_self_pipe

hidden = [name for name in sys.modules if name not in baseline]
random = sys.modules["random"]
seed_random = random.seed
sys.modules["re"].purge()
sys.modules["linecache"].clearcache()

stash = {}
for name in hidden:
    names = closure(name)
    bound = []
    for key in names:
        parent, _, child = key.rpartition(".")
        if parent and getattr(sys.modules[parent], child, None) is sys.modules[key]:
            bound.append((sys.modules[parent], child, sys.modules[key]))
    stash[name] = (sys.modules[name], tuple((key, sys.modules[key]) for key in names), tuple(bound))
for name in hidden:
    parent, _, child = name.rpartition(".")
    # Not where the package has given the name to something else, as unittest does with `main`.
    if parent and getattr(sys.modules[parent], child, None) is sys.modules[name]:
        delattr(sys.modules[parent], child)
for name in hidden:
    del sys.modules[name]
sys.maxsize = 2**63 - 1
baseline.discard("__main__")
