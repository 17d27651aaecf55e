"""Runs code that a language model wrote, safely and fast, and says exactly how good it is.

- :class:`Judge` judges submissions and runs programs; :class:`Verdict` and :class:`RunResult` are its answers.
- :mod:`codejury.verl`, :mod:`codejury.trl`, :mod:`codejury.openrlhf` and :mod:`codejury.slime` are reward
  functions for trainers; :mod:`codejury.reward_server` serves the same over HTTP.
- :mod:`codejury.ray` judges on a cluster.
- :mod:`codejury.metrics`, :mod:`codejury.qa_logger` and :mod:`codejury.eval_config` are for evaluation scripts.

A submission that fails has a verdict. When *we* fail there is none: :mod:`codejury.errors` says how.
"""

from importlib import metadata as _metadata

from .errors import (
    BinaryNotFound,
    CodejuryError,
    RequestRejected,
    SandboxFailed,
    ServerBusy,
    ServerStartError,
    ServerUnavailable,
)
from .judge import Judge, default_judge
from .problem import problem_from
from .verdict import ERROR_TYPES, CommandResult, RunResult, TestVerdict, Usage, Verdict

try:
    __version__ = _metadata.version("codejury")
except _metadata.PackageNotFoundError:  # a source tree on sys.path
    __version__ = "0"

__all__ = [
    "ERROR_TYPES",
    "BinaryNotFound",
    "CodejuryError",
    "CommandResult",
    "Judge",
    "RequestRejected",
    "RunResult",
    "SandboxFailed",
    "ServerBusy",
    "ServerStartError",
    "ServerUnavailable",
    "TestVerdict",
    "Usage",
    "Verdict",
    "default_judge",
    "problem_from",
]
