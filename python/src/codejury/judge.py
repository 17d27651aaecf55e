"""The judge: is this submission right?

::

    from codejury import Judge

    problem = {"problem_id": "add", "kind": "stdio", "tests": [{"stdin": "1 2\\n", "expected": "3\\n"}]}
    with Judge() as judge:
        verdict = judge.judge(problem, "```python\\nprint(sum(map(int, input().split())))\\n```")
        print(verdict.accepted, verdict.error_type, verdict.pass_ratio)
"""

import asyncio
import contextlib
import http.client
import json
import os
import queue
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import (
    Any,
    AsyncIterator,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

from . import _batch
from ._aio import AsyncConnections
from ._batch import Chunk, Completion, Patience, Problem
from ._endpoint import Endpoint, token_from
from ._http import Connections, Response
from ._server import PrivateServer, ServerOptions, SharedServer
from .errors import RequestRejected, SandboxFailed, ServerUnavailable
from .verdict import RunResult, Verdict

__all__ = ["Judge", "default_judge"]

#: Requests of one batch under way at once. The server spreads each over all its cells; more than one
#: only keeps it busy while the end of another is still running.
_CHUNKS_AT_ONCE = 4
#: Calls of `/v1/judge` under way at once. A server takes 16 by default and answers 429 beyond; waiting here
#: for a call to end is much quicker than coming again.
_CALLS_AT_ONCE = 12
#: How long a thread waits for that. Then it asks all the same: the calls in its way may be waiting for it.
_CALL_WAIT_S = 5.0
#: How often `/run_code` is repeated after the sandbox failed.
_SANDBOX_ATTEMPTS = 3


class Judge:
    """Judges submissions with a server: one it starts for itself, or the one at ``url``.

    ``Judge()`` starts ``codejury serve`` on a private loopback port and ends it with the ``with`` block,
    or when this process ends, however that comes about. ``Judge(url="http://host:8080")`` uses a server
    that runs already; ``unix:/path`` names one on a socket. ``Judge(shared=True)`` uses one server for all
    processes of this user on this machine, started by whoever comes first and ended after the last.

    One judge serves any number of threads, tasks and event loops. Every blocking method has an async twin
    whose name begins with ``a``.

    Parameters
    ----------
    url, token:
        A running server, and its bearer token (default: ``CODEJURY_TOKEN``, or the file that
        ``CODEJURY_TOKEN_FILE`` names).
    workers:
        Runs at once in a started server; default: the cores this process may use.
    isolation:
        ``namespaces`` (default), ``restricted``, ``wasm`` or ``best-available``, for a started server.
    python:
        The interpreter that runs submissions, for a started server; default: ``python3`` on PATH.
    compare, limits:
        Win over what a problem's row says. ``compare`` is a mode such as ``"tokens"`` or
        ``"float(1e-6,1e-9)"``, ``limits`` an object such as ``{"wall_time_ms": 2000, "memory_bytes": 2**29}``.
    options:
        More options for ``/v1/judge``, sent as they are.
    unreachable_patience_s, busy_patience_s:
        How long a call goes on, without any progress, while the server cannot be reached or its queue is
        full. After that it raises :class:`ServerUnavailable` or :class:`ServerBusy`.
    silence_timeout_s:
        A server that sends nothing for so long is taken to be gone.
    server_args:
        More arguments for a started ``codejury serve``.
    """

    def __init__(
        self,
        url: Optional[str] = None,
        *,
        token: Optional[str] = None,
        shared: bool = False,
        workers: Optional[int] = None,
        isolation: Optional[str] = None,
        python: Optional[str] = None,
        compare: Optional[str] = None,
        limits: Optional[Mapping[str, Any]] = None,
        options: Optional[Mapping[str, Any]] = None,
        unreachable_patience_s: float = 30.0,
        busy_patience_s: float = 600.0,
        silence_timeout_s: float = 900.0,
        server_args: Sequence[str] = (),
    ) -> None:
        self._options = ServerOptions(workers, isolation, python, tuple(server_args))
        if url is not None and (shared or self._options != ServerOptions()):
            raise ValueError("workers, isolation, python, server_args and shared are for a started server, not for a url")
        self._compare = compare
        self._limits = limits
        self._judge_options: Dict[str, Any] = dict(options or {})
        self._unreachable_s = unreachable_patience_s
        self._busy_s = busy_patience_s
        self._silence_s = silence_timeout_s
        self._shared = shared
        self._lock = threading.RLock()
        self._closed = False
        self._server: Union[PrivateServer, SharedServer, None] = None
        self._calls_at_once = threading.BoundedSemaphore(_CALLS_AT_ONCE)
        self._gates: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]" = weakref.WeakKeyDictionary()
        _judges.add(self)
        if url is not None:
            self._connect(Endpoint.parse(url, token_from(token) or _token_of_environment()))
        else:
            self._start()

    # One submission

    def judge(
        self,
        problem: Problem,
        completion: Optional[Completion] = None,
        *,
        source: Optional[str] = None,
        compare: Optional[str] = None,
        limits: Optional[Mapping[str, Any]] = None,
        **options: Any,
    ) -> Verdict:
        """Judges one submission and returns its verdict.

        ``completion`` is a model's raw text, in which the code is looked for; ``source`` is a finished
        program. Raises :class:`SandboxFailed` if the sandbox failed, and other :class:`CodejuryError`\\ s
        if the server could not be asked.
        """
        pairs = [(problem, _one_of(completion, source))]
        [verdict] = self.judge_batch(pairs, compare=compare, limits=limits, **options)
        return verdict

    async def ajudge(
        self,
        problem: Problem,
        completion: Optional[Completion] = None,
        *,
        source: Optional[str] = None,
        compare: Optional[str] = None,
        limits: Optional[Mapping[str, Any]] = None,
        **options: Any,
    ) -> Verdict:
        """The async twin of :meth:`judge`. Cancelling it ends the run."""
        pairs = [(problem, _one_of(completion, source))]
        [verdict] = await self.ajudge_batch(pairs, compare=compare, limits=limits, **options)
        return verdict

    # Many

    def judge_batch(
        self,
        pairs: Iterable[Tuple[Problem, Completion]],
        *,
        on_failure: str = "raise",
        compare: Optional[str] = None,
        limits: Optional[Mapping[str, Any]] = None,
        **options: Any,
    ) -> List[Verdict]:
        """Judges pairs of problem and completion; returns their verdicts in the same order.

        A problem that occurs many times (the rollouts of a group) is sent once per request. A completion
        is a text or a completion row, ``{"source": …}`` for a finished program.

        ``on_failure`` says what becomes of a submission for which the *sandbox* failed: ``"raise"``
        raises :class:`SandboxFailed` once all others are done, ``"none"`` puts ``None`` in its place,
        ``"keep"`` leaves the ``api_error`` verdict there. It is never a reward of 0.
        """
        collected: Dict[int, Verdict] = {}
        for index, verdict in self.judge_stream(pairs, compare=compare, limits=limits, **options):
            collected[index] = verdict
        return _in_order(collected, on_failure)

    async def ajudge_batch(
        self,
        pairs: Iterable[Tuple[Problem, Completion]],
        *,
        on_failure: str = "raise",
        compare: Optional[str] = None,
        limits: Optional[Mapping[str, Any]] = None,
        **options: Any,
    ) -> List[Verdict]:
        """The async twin of :meth:`judge_batch`. Cancelling it ends the runs."""
        collected: Dict[int, Verdict] = {}
        async for index, verdict in self.ajudge_stream(pairs, compare=compare, limits=limits, **options):
            collected[index] = verdict
        return _in_order(collected, on_failure)

    def judge_stream(
        self,
        pairs: Iterable[Tuple[Problem, Completion]],
        *,
        compare: Optional[str] = None,
        limits: Optional[Mapping[str, Any]] = None,
        **options: Any,
    ) -> Iterator[Tuple[int, Verdict]]:
        """Yields ``(place in pairs, verdict)`` as submissions finish, ``api_error`` verdicts included.

        ``pairs`` is read no further ahead than a few requests, so it may be endless. Leaving the loop
        early ends the runs.
        """
        chunks = self._chunks(pairs, compare, limits, options)
        first = next(chunks, None)
        if first is None:
            return
        second = next(chunks, None)
        if second is None:
            # The common case by far: no threads for a single request.
            yield from self._judge_chunk(first, Patience(self._unreachable_s, self._busy_s, str(self.endpoint)), _Calls())
            return
        yield from self._judge_chunks(_chain(first, second, chunks))

    async def ajudge_stream(
        self,
        pairs: Iterable[Tuple[Problem, Completion]],
        *,
        compare: Optional[str] = None,
        limits: Optional[Mapping[str, Any]] = None,
        **options: Any,
    ) -> AsyncIterator[Tuple[int, Verdict]]:
        """The async twin of :meth:`judge_stream`. Close the generator, or cancel its task, to end the runs."""
        results: "asyncio.Queue[Union[Tuple[int, Verdict], BaseException, None]]" = asyncio.Queue()
        chunks = self._chunks(pairs, compare, limits, options)
        patience = Patience(self._unreachable_s, self._busy_s, str(self.endpoint))

        async def work() -> None:
            try:
                for chunk in chunks:
                    async for result in self._ajudge_chunk(chunk, patience):
                        results.put_nowait(result)
            except Exception as error:
                results.put_nowait(error)
            results.put_nowait(None)

        tasks = [asyncio.ensure_future(work()) for _ in range(_CHUNKS_AT_ONCE)]
        try:
            running = len(tasks)
            while running:
                result = await results.get()
                if result is None:
                    running -= 1
                elif isinstance(result, BaseException):
                    raise result
                else:
                    yield result
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # One program

    def run_code(
        self,
        code: str,
        *,
        language: str = "python",
        stdin: Optional[str] = None,
        run_timeout_s: float = 10.0,
        compile_timeout_s: float = 10.0,
        memory_limit_mb: Optional[int] = None,
        files: Optional[Mapping[str, Union[bytes, str]]] = None,
        fetch_files: Sequence[str] = (),
    ) -> RunResult:
        """Runs one program in the sandbox and returns what it did. ``files`` are put in its folder first.

        Whatever the program does is a result; :class:`SandboxFailed` means that the sandbox failed.
        """
        body = _run_code_body(code, language, stdin, run_timeout_s, compile_timeout_s, memory_limit_mb, files, fetch_files)
        patience = Patience(self._unreachable_s, self._busy_s, str(self.endpoint))
        for attempt in range(_SANDBOX_ATTEMPTS):
            result = self._call("/run_code", body, patience, run_timeout_s + compile_timeout_s)
            if result["status"] != "SandboxError":
                return RunResult.from_row(result)
        raise SandboxFailed(f"the sandbox failed {_SANDBOX_ATTEMPTS} times: {result.get('message')}")

    async def arun_code(
        self,
        code: str,
        *,
        language: str = "python",
        stdin: Optional[str] = None,
        run_timeout_s: float = 10.0,
        compile_timeout_s: float = 10.0,
        memory_limit_mb: Optional[int] = None,
        files: Optional[Mapping[str, Union[bytes, str]]] = None,
        fetch_files: Sequence[str] = (),
    ) -> RunResult:
        """The async twin of :meth:`run_code`. Cancelling it ends the run."""
        body = _run_code_body(code, language, stdin, run_timeout_s, compile_timeout_s, memory_limit_mb, files, fetch_files)
        patience = Patience(self._unreachable_s, self._busy_s, str(self.endpoint))
        for attempt in range(_SANDBOX_ATTEMPTS):
            result = await self._acall("/run_code", body, patience, run_timeout_s + compile_timeout_s)
            if result["status"] != "SandboxError":
                return RunResult.from_row(result)
        raise SandboxFailed(f"the sandbox failed {_SANDBOX_ATTEMPTS} times: {result.get('message')}")

    # Its life

    @property
    def endpoint(self) -> Endpoint:
        """Where the server is; ``str()`` of it is a URL."""
        return self._endpoint

    def close(self) -> None:
        """Ends the server that this judge started, and whatever it runs. Doing it twice is fine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._finalizer()
            self._http.close()
            self._aio.close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`."""
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def __enter__(self) -> "Judge":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> "Judge":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        how = "closed" if self._closed else "shared server" if self._shared else "own server" if self._server else "server"
        return f"<Judge {how} at {self._endpoint}>"

    def __reduce__(self) -> Any:
        raise TypeError("a Judge holds connections and cannot be pickled; make one in each process, as codejury.default_judge does")

    # Inside

    def _start(self) -> None:
        self._server = SharedServer(self._options) if self._shared else PrivateServer(self._options)
        self._connect(self._server.endpoint)

    def _connect(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._http = Connections(endpoint, self._silence_s)
        self._aio = AsyncConnections(endpoint, self._silence_s)
        # Also runs when the judge is dropped without being closed, and at the interpreter's exit.
        self._finalizer = weakref.finalize(self, self._server.close if self._server else _nothing)

    def _revive(self) -> None:
        """After a connection failed: starts the server anew if it was ours and is gone."""
        with self._lock:
            if self._closed:
                raise ServerUnavailable("the judge was closed while it was judging")
            if self._server is not None and not self._server.running():
                self._finalizer()
                self._http.close()
                self._start()

    def _check_open(self) -> None:
        if self._closed:
            raise ServerUnavailable("the judge is closed")

    def _chunks(
        self,
        pairs: Iterable[Tuple[Problem, Completion]],
        compare: Optional[str],
        limits: Optional[Mapping[str, Any]],
        options: Mapping[str, Any],
    ) -> Iterator[Chunk]:
        self._check_open()
        both = {**(self._limits or {}), **(limits or {})}
        batch = _batch.items(pairs, compare=compare or self._compare, limits=both)
        return _batch.chunks(batch, {**self._judge_options, **options})

    def _judge_chunk(self, chunk: Chunk, patience: Patience, calls: "_Calls") -> Iterator[Tuple[int, Verdict]]:
        while True:
            try:
                with self._turn(), calls.track(self._http.request("POST", "/v1/judge", chunk.body())) as response:
                    if response.status == 200:
                        for line in response.lines():
                            result = chunk.take(line)
                            if result is not None:
                                patience.progress()
                                yield result
                        chunk.check_complete()
                        return
                    body = response.read()
                    status, headers = response.status, response.headers
            except (OSError, http.client.HTTPException) as error:
                calls.check()
                wait = patience.after_break(error)
                self._revive()
            else:
                if _batch.too_large(status) and len(chunk.pending) > 1:
                    for half in chunk.halves():
                        yield from self._judge_chunk(half, patience, calls)
                    return
                wait = _wait_or_raise(status, headers, body, patience, str(self._endpoint))
            calls.sleep(wait)

    async def _ajudge_chunk(self, chunk: Chunk, patience: Patience) -> AsyncIterator[Tuple[int, Verdict]]:
        while True:
            try:
                async with self._gate():
                    response = await self._aio.request("POST", "/v1/judge", chunk.body())
                    try:
                        if response.status == 200:
                            async for line in response.lines():
                                result = chunk.take(line)
                                if result is not None:
                                    patience.progress()
                                    yield result
                            chunk.check_complete()
                            return
                        body = await response.read()
                        status, headers = response.status, response.headers
                    finally:
                        await response.close()
            except OSError as error:
                wait = patience.after_break(error)
                await asyncio.get_running_loop().run_in_executor(None, self._revive)
            else:
                if _batch.too_large(status) and len(chunk.pending) > 1:
                    for half in chunk.halves():
                        async for result in self._ajudge_chunk(half, patience):
                            yield result
                    return
                wait = _wait_or_raise(status, headers, body, patience, str(self._endpoint))
            await asyncio.sleep(wait)

    def _judge_chunks(self, chunks: Iterator[Chunk]) -> Iterator[Tuple[int, Verdict]]:
        results: "queue.Queue[Union[Tuple[int, Verdict], BaseException, None]]" = queue.Queue(maxsize=1024)
        calls = _Calls()
        patience = Patience(self._unreachable_s, self._busy_s, str(self.endpoint))
        taking = threading.Lock()

        def put(result: Union[Tuple[int, Verdict], BaseException, None]) -> None:
            while not calls.ended:
                try:
                    return results.put(result, timeout=0.1)
                except queue.Full:
                    continue

        def work() -> None:
            try:
                while not calls.ended:
                    with taking:
                        chunk = next(chunks, None)
                    if chunk is None:
                        break
                    for result in self._judge_chunk(chunk, patience, calls):
                        put(result)
            except _Ended:
                pass
            except BaseException as error:
                put(error)
            put(None)

        with ThreadPoolExecutor(_CHUNKS_AT_ONCE, thread_name_prefix="codejury") as pool:
            try:
                for _ in range(_CHUNKS_AT_ONCE):
                    pool.submit(work)
                running = _CHUNKS_AT_ONCE
                while running:
                    result = results.get()
                    if result is None:
                        running -= 1
                    elif isinstance(result, BaseException):
                        raise result
                    else:
                        yield result
            finally:
                calls.end()

    def _call(self, path: str, body: bytes, patience: Patience, work_s: float) -> Dict[str, Any]:
        self._check_open()
        while True:
            try:
                # Unlike /v1/judge this path sends nothing until the program has ended.
                with self._http.request("POST", path, body, self._silence_s + work_s) as response:
                    answer = response.read()
                    status, headers = response.status, response.headers
                if status == 200:
                    return _object(answer)
            except (OSError, http.client.HTTPException) as error:
                wait = patience.after_break(error)
                self._revive()
            else:
                wait = _wait_or_raise(status, headers, answer, patience, str(self._endpoint))
            time.sleep(wait)

    async def _acall(self, path: str, body: bytes, patience: Patience, work_s: float) -> Dict[str, Any]:
        self._check_open()
        while True:
            try:
                response = await self._aio.request("POST", path, body, self._silence_s + work_s)
                try:
                    answer = await response.read()
                finally:
                    await response.close()
                if response.status == 200:
                    return _object(answer)
            except OSError as error:
                wait = patience.after_break(error)
                await asyncio.get_running_loop().run_in_executor(None, self._revive)
            else:
                wait = _wait_or_raise(response.status, response.headers, answer, patience, str(self._endpoint))
            await asyncio.sleep(wait)

    def _gate(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        gate = self._gates.get(loop)
        if gate is None:
            gate = self._gates[loop] = asyncio.Semaphore(_CALLS_AT_ONCE)
        return gate

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        gate = self._calls_at_once
        taken = gate.acquire(timeout=_CALL_WAIT_S)
        try:
            yield
        finally:
            if taken:
                gate.release()


_default: Optional[Judge] = None
_default_lock = threading.Lock()


def default_judge() -> Judge:
    """The judge of this process that the reward functions use.

    ``CODEJURY_URL`` names its server, with ``CODEJURY_TOKEN`` or ``CODEJURY_TOKEN_FILE``. Without it, all
    processes of this user on this machine share one server, which ends after the last of them.
    """
    global _default
    with _default_lock:
        if _default is None or _default._closed:
            url = os.environ.get("CODEJURY_URL")
            _default = Judge(url) if url else Judge(shared=True)
        return _default


_judges: "weakref.WeakSet[Judge]" = weakref.WeakSet()


def _fresh_locks_after_fork() -> None:
    """What other threads of the parent held when it forked, nobody would ever give back in the child."""
    global _default_lock
    _default_lock = threading.Lock()
    for judge in list(_judges):
        judge._lock = threading.RLock()
        judge._calls_at_once = threading.BoundedSemaphore(_CALLS_AT_ONCE)


os.register_at_fork(after_in_child=_fresh_locks_after_fork)


class _Ended(Exception):
    """The caller has left the loop; its requests are of no more use."""


class _Calls:
    """The requests under way for one batch, so that they can all be ended from outside."""

    def __init__(self) -> None:
        self._open: Set[Response] = set()
        self._lock = threading.Lock()
        self._event = threading.Event()

    @property
    def ended(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        if self.ended:
            raise _Ended

    def sleep(self, seconds: float) -> None:
        self._event.wait(seconds)
        self.check()

    def track(self, response: Response) -> "_Tracked":
        return _Tracked(self, response)

    def end(self) -> None:
        self._event.set()
        with self._lock:
            for response in self._open:
                response.abort()


class _Tracked:
    def __init__(self, calls: _Calls, response: Response) -> None:
        self._calls = calls
        self._response = response

    def __enter__(self) -> Response:
        with self._calls._lock:
            self._calls._open.add(self._response)
        if self._calls.ended:
            self._response.abort()
        return self._response

    def __exit__(self, *_: object) -> None:
        with self._calls._lock:
            self._calls._open.discard(self._response)
        self._response.close()


def _nothing() -> None:
    pass


def _chain(first: Chunk, second: Chunk, rest: Iterator[Chunk]) -> Iterator[Chunk]:
    yield first
    yield second
    yield from rest


def _one_of(completion: Optional[Completion], source: Optional[str]) -> Completion:
    if (completion is None) == (source is None):
        raise TypeError("give either a completion (a model's text) or source= (a finished program)")
    return completion if completion is not None else {"source": source}


def _in_order(collected: Mapping[int, Verdict], on_failure: str) -> List[Any]:
    if on_failure not in ("raise", "none", "keep"):
        raise ValueError(f'on_failure is "raise", "none" or "keep", not {on_failure!r}')
    verdicts = [collected[index] for index in range(len(collected))]
    failed = [verdict for verdict in verdicts if verdict.failed_by_us]
    if not failed or on_failure == "keep":
        return verdicts
    if on_failure == "none":
        return [None if verdict.failed_by_us else verdict for verdict in verdicts]
    reason = (failed[0].evidence or {}).get("failure") or failed[0].error_subtype or "no reason given"
    raise SandboxFailed(
        f"the sandbox failed for {len(failed)} of {len(verdicts)} submissions, first {failed[0].problem_id!r}: {reason}",
        verdicts,
    )


def _wait_or_raise(status: int, headers: Mapping[str, str], body: bytes, patience: Patience, where: str) -> float:
    if _batch.busy(status):
        return patience.after_busy(status, headers.get("retry-after"))
    error = _batch.refusal(status, body, where)
    if isinstance(error, RequestRejected):
        raise error
    return patience.after_break(error)


def _object(answer: bytes) -> Dict[str, Any]:
    try:
        value = json.loads(answer)
    except ValueError as error:
        raise ConnectionError(f"the answer is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConnectionError("the answer is no JSON object")
    return value


def _run_code_body(
    code: str,
    language: str,
    stdin: Optional[str],
    run_timeout_s: float,
    compile_timeout_s: float,
    memory_limit_mb: Optional[int],
    files: Optional[Mapping[str, Union[bytes, str]]],
    fetch_files: Sequence[str],
) -> bytes:
    import base64

    def coded(data: Union[bytes, str]) -> str:
        return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()

    body: Dict[str, Any] = {
        "code": code,
        "language": language,
        "stdin": stdin,
        "run_timeout": run_timeout_s,
        "compile_timeout": compile_timeout_s,
        "files": {name: coded(data) for name, data in (files or {}).items()},
        "fetch_files": list(fetch_files),
    }
    if memory_limit_mb is not None:
        body["memory_limit_MB"] = memory_limit_mb
    return json.dumps(body).encode()


def _token_of_environment() -> Optional[str]:
    token = os.environ.get("CODEJURY_TOKEN")
    path = os.environ.get("CODEJURY_TOKEN_FILE")
    if token is None and path:
        with open(path) as file:
            token = file.read()
    return token_from(token)
