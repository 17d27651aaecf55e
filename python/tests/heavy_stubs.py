"""Stands in for verl's heavy dependencies at import, so that the parts of verl that score can run without them.

Nothing of verl is changed or replaced. `torch` and the like only have to exist for its modules to load; what
is under test (the scorer, the hook that loads reward functions, the registry of managers) does not use them.
Where torch is installed the stubs are not needed, and nothing is stubbed.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types

HEAVY = (
    "accelerate", "codetiming", "datasets", "dill", "hydra", "orjson", "peft", "pyarrow", "pandas", "sglang", "tensordict", "torch", "torchdata",
    "transformers", "vllm", "wandb",
)


class _Meta(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = _Meta(name, (_Thing,), {"__module__": cls.__module__})
        setattr(cls, name, made)
        return made

    def __call__(cls, *arguments, **_):
        return arguments[0] if len(arguments) == 1 and callable(arguments[0]) else super().__call__()

    def __getitem__(cls, _):
        return cls

    def __bool__(cls):
        return False


class _Thing(metaclass=_Meta):
    """A class to inherit from, a type to name, a decorator, and a result that is false."""

    def __init__(self, *_, **__):
        pass

    def __call__(self, *arguments, **_):
        return arguments[0] if arguments else self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Thing()

    def __bool__(self):
        return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class _Module(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = _Meta(name, (_Thing,), {"__module__": self.__name__})
        setattr(self, name, made)
        return made


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, names):
        self._names = names

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self._names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = _Module(spec.name)
        module.__path__ = []
        module.__version__ = "99.0.0"
        return module

    def exec_module(self, module):
        pass


def install():
    """Stubs those that are absent; returns their names."""
    absent = tuple(name for name in HEAVY if name not in sys.modules and importlib.util.find_spec(name) is None)
    if absent:
        sys.meta_path.append(_Finder(absent))
    return absent
