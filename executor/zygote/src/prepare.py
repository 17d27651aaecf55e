# Runs once in the zygote, before anything is forked and before it is locked down. What is left in
# the interpreter afterwards is what a cold one has when it opens its program, and nothing else that
# a program could see.
#
# In: path, finish (called last at exit), find_and_load. Out: objects, freeze_count, unfreeze, frozen,
# callbacks, get_debug, streams, suspended, weak, stdout, stderr, exit_keeps_error, names_go_first,
# resident, call_resident; and, for imports done beforehand (imports.rs has the theory): places,
# builtins, original, original_import, modules, finders, path_entries.
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
exit_keeps_error = (3, 12) <= sys.version_info < (3, 14)
names_go_first = sys.version_info >= (3, 14)
running = coroutine()
suspended = (type(x for x in ()), type(running), type(generator()))
running.close()
streams = (_io.TextIOWrapper, _io.BufferedWriter, _io.BufferedRandom, _io.BufferedRWPair)
streams += (_io.BufferedReader, _io.FileIO)
weak = type(__import__("_weakref").ref(finish.__class__))
objects, freeze_count, unfreeze = gc.get_objects, gc.get_freeze_count, gc.unfreeze
collect, freeze = gc.collect, gc.freeze
callbacks, get_debug = gc.callbacks, gc.get_debug

# Until 3.9 the exit handlers live in the module: it is hidden like those imported beforehand, since a
# second one would have handlers of its own in place of these.
staying = ("atexit",) if sys.version_info < (3, 10) else ()
for name in [name for name in sys.modules if name not in seen and name not in staying]:
    del sys.modules[name]
del running, main

# Imports done beforehand.

modules = sys.modules
bootstrap = modules["_frozen_importlib"]
builtins = modules["builtins"]
original, original_import = bootstrap._find_and_load, builtins.__import__
filters = modules["_warnings"].filters
finders, path_entries = tuple(sys.meta_path), tuple(sys.path)
cached_paths = set(sys.path_importer_cache)
settings = (dict(modules["os"].environ), tuple(sys.path_hooks)) if "os" in modules else ()
# Of each module that was loaded: the names of those that it asked for, in this order.
uses = {}
loading, present, count = [[]], set(modules), [len(modules)]
names = [None]
# Of some modules: what is to be done in the run that gets them.
after = {}
register_at_fork = modules["posix"].register_at_fork
places = {}
fillers = []
standard = set()


def note(name):
    if name not in loading[-1]:
        loading[-1].append(name)


def note_aliases():
    """What the module that is being loaded has put there itself, under names of its choice."""
    if len(modules) != count[0]:
        for name in [name for name in modules if name not in present]:
            present.add(name)
            if name != names[-1]:
                uses.setdefault(name, [])
                note(name)
        count[0] = len(modules)


def load_and_note(name, import_):
    note_aliases()
    note(name)
    used = uses.setdefault(name, [])
    loading.append(used)
    names.append(name)
    try:
        module = original(name, import_)
        note_aliases()
    finally:
        loading.pop()
        names.pop()
        count[0] = len(modules)
    return module


def import_and_note(name, globals=None, locals=None, fromlist=(), level=0):
    module = original_import(name, globals, locals, fromlist, level)
    if level:
        name = bootstrap._resolve_name(name, bootstrap._calc___package__(globals), level)
    note_aliases()
    note(name)
    for item in fromlist or ():
        if "%s.%s" % (name, item) in modules:
            note("%s.%s" % (name, item))
    return module


def note_at_fork(**calls):
    """A run is a fork, but of a module that it does not get it need not do anything."""

    def follow():
        register_at_fork(**calls)
        calls.get("after_in_child", int)()

    then(names[-1], follow)


def then(name, call):
    after.setdefault(name, []).append(call)


def hook(find, import_, register):
    bootstrap._find_and_load, builtins.__import__ = find, import_
    for name in ("posix", "os"):
        if name in modules:
            modules[name].register_at_fork = register


def warm(wanted):
    """Imports these as a program would. What is not installed is left to the program."""
    hook(load_and_note, import_and_note, note_at_fork)
    try:
        for name in wanted:
            before = list(filters)
            try:
                exec("import " + name, {"__name__": "__main__", "__builtins__": builtins})
            except ModuleNotFoundError as error:
                if error.name is None or not (name + ".").startswith(error.name + "."):
                    raise
            if filters != before:
                filters_follow(name, [item for item in filters if item not in before])
                filters[:] = before
    finally:
        hook(original, original_import, register_at_fork)
    if not standard:  # the first call is for the standard library, the second for packages
        standard.update(modules)
    if (tuple(sys.meta_path), tuple(sys.path)) != (finders, path_entries):
        raise RuntimeError("they change how modules are found")
    if settings and (dict(modules["os"].environ), tuple(sys.path_hooks)) != settings:
        raise RuntimeError("they change the environment")


def filters_follow(name, added):
    def follow():
        filters[:0] = added
        state = modules["_warnings"]
        for changed in ("_filters_mutated", "_filters_mutated_lock_held"):
            getattr(state, changed, int)()

    then(name, follow)


def random_seeded_anew():
    modules["numpy.random.mtrand"]._rand.seed()


def main_thread_renamed():
    thread = modules["threading"].main_thread()
    getattr(thread, "_set_native_id", int)()


def follower(name):
    if name == "numpy.random.mtrand":
        then(name, random_seeded_anew)
    if name == "threading":
        then(name, main_thread_renamed)
    calls = after.get(name)
    return calls and (lambda: [call() for call in calls])


def load_resident(code):
    """Runs a module whose function `run` will be the program of runs."""
    global resident, call_resident
    resident = {"__name__": "resident", "__builtins__": builtins}
    exec(sys.modules["marshal"].loads(code), resident)
    call_resident = compile("run()", "resident.py", "exec")


def fill_gaps():
    """Takes what is free in the allocator's pools, for good. A run then puts its own small objects side
    by side, and not into gaps all over the heap, each on a page that it would have to copy."""
    pool = 1 << (14 if sys.version_info >= (3, 10) else 12)
    header = 48
    for size in range(16, 512 + 16, 16):
        # The first block of a pool says that no other one had room. The bound is for an allocator
        # that is built otherwise.
        for _ in range((512 << 10) // size):
            filler = object() if size == 16 else size * 1.5 if size == 32 else bytes(size - 33)
            fillers.append(filler)
            if id(filler) % pool == header:
                break


def is_foreign(name, module):
    """Whether it is an extension module that is not of the standard library."""
    loader = getattr(getattr(module, "__spec__", None), "loader", None)
    return name not in standard and type(loader).__name__ == "ExtensionFileLoader"


def closure(name):
    """What a run gets with this module: the module, and all that it asked for."""
    found, left = set(), [name]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += uses.get(name, ())
    return found


def settle():
    """Hides what was imported beforehand. Returns a tuple for each module, and for each that stays."""
    collect()
    fill_gaps()
    # Copies lie side by side: a name that moves into sys.modules is written to.
    names = [name[:1] + name[1:] for name in modules if name not in seen]
    found = [modules.pop(name) for name in names]
    places.update((name, place) for place, name in enumerate(names))
    if names:
        bootstrap._find_and_load = find_and_load
    for entry in [entry for entry in sys.path_importer_cache if entry not in cached_paths]:
        del sys.path_importer_cache[entry]
    once = {name.partition(".")[0] for name, module in zip(names, found) if is_foreign(name, module)}
    hidden, together = [], {}
    for name, module in zip(names, found):
        parent, _, child = name.rpartition(".")
        owner = found[places[parent]] if parent in places else modules.get(parent)
        child = child if getattr(owner, "__dict__", {}).get(child) is module else None
        if parent in places and parent not in together:
            together[parent] = closure(parent)
        stays = name in together.get(parent, ())
        if child is not None and not stays:
            delattr(owner, child)
        used = tuple(places[other] for other in uses.get(name, ()) if other in places)
        place = places.get(parent, -1)
        alone = name.partition(".")[0] in once
        hidden.append((name, module, used, place, owner, child, stays, alone, follower(name)))
    return hidden, [item for item in modules.items() if item[0] != "__main__"]


def freeze_all():
    """Keeps the collector away from everything so far."""
    global frozen
    freeze()
    frozen = freeze_count()
