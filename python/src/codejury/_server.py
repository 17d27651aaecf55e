"""Embedded servers: ``codejury serve`` as a child, for one judge or for all processes of this user.

# Theory of operation

A server that a program starts for itself must end with it, also when the program is killed. So its
standard input is the reading end of a pipe whose writing ends are held by whoever uses it, and it runs
with ``--until-stdin-closes``: when the last holder has gone, however it went, the kernel closes the
pipe and the server ends.

A *private* server has an ordinary pipe. A *shared* one has a named pipe in a folder of this user's, and
beside it a lock and a note of its address and token:

    user A  -- lock, nobody reads the pipe: start the server, write the note, unlock, hold the pipe
    user B  -- lock, the pipe has a reader: read the note, unlock, hold the pipe
    A gone  -- the server goes on for B
    B gone  -- the server ends
    user C  -- lock, nobody reads the pipe: start one

Sharing matters because one server never makes more runs at once than the machine has cores: eight reward
workers with a server each would make eight times as many, and time limits would begin to depend on luck.
"""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from ._binary import find_binary
from ._endpoint import Endpoint
from .errors import ServerStartError

#: A server that is not ready by then will not be: starting takes a fraction of a second.
START_TIMEOUT_S = 60.0
#: What a server gets to end the runs under way when its judge is closed.
STOP_TIMEOUT_S = 10.0
#: The folder for shared servers, where the usual ones will not do.
RUNTIME_VARIABLE = "CODEJURY_RUNTIME_DIR"

_LOG_TAIL_BYTES = 4096


@dataclass(frozen=True)
class ServerOptions:
    """How an embedded server is started. Servers with different options are never shared."""

    #: Runs at once; ``None`` for as many as the process may use cores.
    workers: Optional[int] = None
    #: The isolation asked for; ``None`` for every layer, or an error.
    isolation: Optional[str] = None
    #: The interpreter that runs submissions; ``None`` for the ``python3`` on PATH.
    python: Optional[str] = None
    #: More arguments for ``codejury serve``.
    extra: Tuple[str, ...] = ()

    def arguments(self) -> List[str]:
        arguments: List[str] = []
        for flag, value in (("--slots", self.workers), ("--isolation", self.isolation), ("--python", self.python)):
            if value is not None:
                arguments += [flag, str(value)]
        return arguments + list(self.extra)


class PrivateServer:
    """A server of this process alone."""

    def __init__(self, options: ServerOptions) -> None:
        self._folder = tempfile.mkdtemp(prefix="codejury-")
        try:
            reader, self._alive = os.pipe()
            try:
                self._process, self.endpoint = _start(options, self._folder, reader, detached=False)
            except BaseException:
                os.close(self._alive)
                raise
            finally:
                os.close(reader)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._owner = os.getpid()

    @property
    def pid(self) -> int:
        return self._process.pid

    def running(self) -> bool:
        """Whether it can still answer. A forked child cannot wait for its parent's child, and says yes."""
        return os.getpid() != self._owner or self._process.poll() is None

    def close(self) -> None:
        if self._alive < 0:
            return
        os.close(self._alive)
        self._alive = -1
        if os.getpid() != self._owner:
            return
        _stop(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)


class SharedServer:
    """The server of this user on this machine: joined if there is one, else started."""

    def __init__(self, options: ServerOptions) -> None:
        folder = _runtime_folder()
        self._base = os.path.join(folder, _name_of(options))
        deadline = time.monotonic() + START_TIMEOUT_S
        with open(self._base + ".lock", "w") as lock:
            _lock(lock.fileno(), deadline, self._base + ".lock")
            _make_fifo(self._base + ".alive")
            joined = self._join()
            if joined is None:
                joined = self._start(options, folder)
        self._alive, self.endpoint, self.pid = joined

    def _join(self) -> Optional[Tuple[int, Endpoint, int]]:
        try:
            # Non-blocking: it fails with ENXIO when nobody reads, that is, when no server runs.
            alive = os.open(self._base + ".alive", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            raise
        try:
            with open(self._base + ".json") as file:
                note = json.load(file)
            endpoint = Endpoint.parse(note["url"], note["token"])
            if not _accepts(endpoint):
                # It is on its way out: its last holder has just gone. Or it hangs. Either way it is not ours.
                _wait_for_end(note["pid"], STOP_TIMEOUT_S)
                raise LookupError
        except (OSError, ValueError, LookupError):
            os.close(alive)
            # The old pipe may have a reader yet; a server started now gets a pipe of its own.
            os.unlink(self._base + ".alive")
            _make_fifo(self._base + ".alive")
            return None
        return alive, endpoint, note["pid"]

    def _start(self, options: ServerOptions, folder: str) -> Tuple[int, Endpoint, int]:
        reader = os.open(self._base + ".alive", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        alive = -1
        try:
            alive = os.open(self._base + ".alive", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.set_blocking(reader, True)
            process, endpoint = _start(options, folder, reader, detached=True, name=os.path.basename(self._base))
        except BaseException:
            if alive >= 0:
                os.close(alive)
            raise
        finally:
            os.close(reader)
        note = {"url": str(endpoint), "token": endpoint.token, "pid": process.pid}
        _write_private(self._base + ".json", json.dumps(note))
        # It is nobody's child in particular from here on; reaping it keeps this process's table clean.
        _REAP.append(process)
        return alive, endpoint, process.pid

    def running(self) -> bool:
        for process in _REAP:
            process.poll()
        try:
            os.kill(self.pid, 0)
        except OSError:
            return False
        return _accepts(self.endpoint)

    def close(self) -> None:
        if self._alive >= 0:
            os.close(self._alive)
            self._alive = -1


#: Shared servers that this process started.
_REAP: "List[subprocess.Popen[bytes]]" = []


def _start(
    options: ServerOptions, folder: str, stdin: int, *, detached: bool, name: str = "server"
) -> "Tuple[subprocess.Popen[bytes], Endpoint]":
    token = secrets.token_urlsafe(32)
    paths = {kind: os.path.join(folder, f"{name}.{kind}") for kind in ("token", "ready", "log")}
    _write_private(paths["token"], token + "\n")
    _remove(paths["ready"])
    command = [find_binary(), "serve", "--listen", "127.0.0.1:0", "--until-stdin-closes"]
    command += ["--token-file", paths["token"], "--ready-file", paths["ready"], *options.arguments()]
    with open(paths["log"], "wb") as log:
        try:
            # A session of its own: Ctrl-C in a notebook or a shell is meant for the caller, which
            # then closes the server in its own time.
            process = subprocess.Popen(
                command, stdin=stdin, stdout=log, stderr=log, start_new_session=True, cwd=folder if detached else None
            )
        except OSError as error:
            raise ServerStartError(f"cannot run {command[0]}: {error}") from error
    deadline = time.monotonic() + START_TIMEOUT_S
    delay = 0.002
    while True:
        ready = _read_ready(paths["ready"])
        if ready is not None:
            return process, Endpoint.parse(ready["url"], token)
        if process.poll() is not None:
            raise ServerStartError(f"`codejury serve` ended with exit code {process.returncode}{_tail(paths['log'])}")
        if time.monotonic() > deadline:
            _stop(process)
            raise ServerStartError(f"`codejury serve` was not ready after {START_TIMEOUT_S:g} s{_tail(paths['log'])}")
        time.sleep(delay)
        delay = min(delay * 1.5, 0.05)


def _read_ready(path: str) -> Optional[Dict[str, Any]]:
    try:
        with open(path) as file:
            ready = json.load(file)
    except FileNotFoundError:
        return None
    assert isinstance(ready, dict), "the ready file is an object"
    return ready


def _tail(path: str) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - _LOG_TAIL_BYTES))
        text = file.read().decode("utf-8", "replace").strip()
    return f":\n{text}" if text else ", and wrote nothing"


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _accepts(endpoint: Endpoint) -> bool:
    try:
        endpoint.connect(2.0).close()
    except OSError:
        return False
    return True


def _wait_for_end(pid: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for process in _REAP:
            process.poll()
        try:
            os.kill(pid, 0)
        except OSError:
            return
        time.sleep(0.02)


def _runtime_folder() -> str:
    """A folder that only this user can enter. Raises :class:`ServerStartError` if there is none."""
    named = os.environ.get(RUNTIME_VARIABLE)
    session = os.environ.get("XDG_RUNTIME_DIR")
    candidates = [named] if named else [os.path.join(session, "codejury")] if session and os.path.isdir(session) else []
    candidates.append(os.path.join(tempfile.gettempdir(), f"codejury-{os.getuid()}"))
    reasons = []
    for folder in candidates:
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            found = os.lstat(folder)
        except OSError as error:
            reasons.append(str(error))
            continue
        # Anyone may make a folder of that name in /tmp first, and then read the token in it.
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
        reasons.append(f"{folder} is not a folder of this user that nobody else can enter (mode 0700)")
    raise ServerStartError(
        f"no folder to share a server in: {'; '.join(reasons)}; {RUNTIME_VARIABLE} can name another"
    )


def _name_of(options: ServerOptions) -> str:
    """Servers are shared by processes that would have started the very same one."""
    binary = find_binary()
    found = os.stat(binary)
    parts = [os.path.realpath(binary), found.st_size, found.st_mtime_ns, options.arguments(), os.environ.get("PATH")]
    parts.append(sorted(os.sched_getaffinity(0)))
    return "shared-" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _make_fifo(path: str) -> None:
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        pass


def _lock(fd: int, deadline: float, name: str) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                raise
        if time.monotonic() > deadline:
            raise ServerStartError(f"another process has held {name} for {START_TIMEOUT_S:g} s")
        time.sleep(0.01)


def _write_private(path: str, text: str) -> None:
    """Writes a file that only this user can read, all of it or nothing."""
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(temporary, path)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
