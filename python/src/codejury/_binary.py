"""Finds the ``codejury`` command."""

import os
import shutil
import site
import sys
import sysconfig
from typing import Iterator

from .errors import BinaryNotFound

NAME = "codejury"
#: Names another command; for trying a build that is not installed.
VARIABLE = "CODEJURY_BINARY"


def find_binary() -> str:
    """The path of the ``codejury`` command: ``CODEJURY_BINARY``, else the bundled one, else the one on PATH.

    Raises :class:`BinaryNotFound`.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if _is_command(named):
            return named
        raise BinaryNotFound(f"{VARIABLE} names {named!r}, which is no executable file")
    for folder in _script_folders():
        path = os.path.join(folder, NAME)
        if _is_command(path):
            return path
    on_path = shutil.which(NAME)
    if on_path:
        return on_path
    raise BinaryNotFound(
        f"the `{NAME}` command is not installed beside this package ({sys.prefix}) and not on PATH; "
        f"install the wheel again, or name a build of it in {VARIABLE}"
    )


def _is_command(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _script_folders() -> Iterator[str]:
    """Where installers put commands: the environment's, the user's, and beside `pip install --target`."""
    yield sysconfig.get_path("scripts")
    if site.ENABLE_USER_SITE:
        yield os.path.join(site.getuserbase(), "bin")
    package = os.path.dirname(os.path.abspath(__file__))
    yield os.path.join(os.path.dirname(package), "bin")
