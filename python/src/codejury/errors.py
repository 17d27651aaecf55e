"""What can go wrong that is not the program's fault.

A verdict says how good a submission is. Everything here says that there is no verdict: nothing of it
may ever become a reward.

==========================  ===========================================================  =============
Class                       Means                                                        Worth a retry
==========================  ===========================================================  =============
:class:`BinaryNotFound`     the ``codejury`` command is neither bundled nor on PATH      no
:class:`ServerStartError`   the embedded server did not start (its own words are shown)  no
:class:`ServerUnavailable`  the server could not be reached, or went away, for too long  yes, later
:class:`ServerBusy`         the server's queue stayed full for too long                  yes, later
:class:`RequestRejected`    the server refuses the request: a bad row, a wrong token     no
:class:`SandboxFailed`      an ``api_error``: the sandbox failed, after its retries      yes
==========================  ===========================================================  =============
"""

from typing import TYPE_CHECKING, Optional, Sequence

if TYPE_CHECKING:
    from .verdict import Verdict

__all__ = [
    "BinaryNotFound",
    "CodejuryError",
    "RequestRejected",
    "SandboxFailed",
    "ServerBusy",
    "ServerStartError",
    "ServerUnavailable",
]


class CodejuryError(Exception):
    """Base of all errors of this package: there is no verdict."""


class BinaryNotFound(CodejuryError):
    """The ``codejury`` command is neither bundled, nor on PATH, nor named by ``CODEJURY_BINARY``."""


class ServerStartError(CodejuryError):
    """The embedded server did not start. The message holds what it wrote to standard error."""


class ServerUnavailable(CodejuryError):
    """The server could not be reached, or broke off, for longer than the caller's patience."""


class ServerBusy(CodejuryError):
    """The server's queue stayed full for longer than the caller's patience."""


class RequestRejected(CodejuryError):
    """The server refuses this request, and would refuse it again.

    ``status`` is the HTTP status: 400 or 422 for a row it cannot read, 401 for a missing or wrong
    token, 413 for one that is too large.
    """

    def __init__(self, message: str, status: Optional[int] = None) -> None:
        super().__init__(message)
        self.status = status


class SandboxFailed(CodejuryError):
    """Judging ended in ``api_error``: we failed, after retries, and nothing is known of the program.

    ``verdicts`` holds the verdicts of the whole call, in its order, the failed ones included, so that a
    caller can keep what is known.
    """

    def __init__(self, message: str, verdicts: "Sequence[Optional[Verdict]]" = ()) -> None:
        super().__init__(message)
        self.verdicts = verdicts
