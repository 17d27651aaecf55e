"""The async client: HTTP/1.1 over asyncio streams, as much of it as our own server speaks.

The standard library has no async HTTP client, and a dependency for two request shapes would cost every
user more than these lines. What matters here: a task that is cancelled closes its connection, and the
server then ends the run.
"""

import asyncio
import weakref
from typing import Any, AsyncIterator, Awaitable, Coroutine, Dict, List, Optional, Tuple, TypeVar

from ._endpoint import CONNECT_TIMEOUT_S, Endpoint

#: No line of an answer is longer: a verdict row names its test cases, at most some tens of thousands.
_MAX_LINE_BYTES = 256 * 1024 * 1024

_T = TypeVar("_T")
_Streams = Tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ProtocolError(OSError):
    """The other side does not speak HTTP/1.1 as a server should."""


class AsyncResponse:
    """An answer whose body is still to be read. Close it; read to its end, its connection is used again."""

    def __init__(self, pool: "AsyncConnections", streams: _Streams, status: int, headers: Dict[str, str], timeout_s: float):
        self._pool = pool
        self._streams = streams
        self.status = status
        self.headers = headers
        self._timeout_s = timeout_s
        self._finished = False

    async def _chunks(self) -> AsyncIterator[bytes]:
        reader = self._streams[0]
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            while True:
                size = _chunk_size(await self._timed(reader.readline()))
                if size == 0:
                    while (await self._timed(reader.readline())).strip():
                        pass  # trailers
                    break
                yield await self._timed(reader.readexactly(size))
                await self._timed(reader.readexactly(2))
        elif "content-length" in self.headers:
            left = int(self.headers["content-length"])
            while left:
                chunk = await self._timed(reader.read(min(left, 1 << 16)))
                if not chunk:
                    raise ProtocolError("the answer ends before its length is reached")
                left -= len(chunk)
                yield chunk
        else:
            while True:
                chunk = await self._timed(reader.read(1 << 16))
                if not chunk:
                    return  # the connection is used up
                yield chunk
        self._finished = True

    async def _timed(self, reading: Awaitable[_T]) -> _T:
        try:
            return await _unless_silent(reading, self._streams, self._timeout_s)
        except asyncio.IncompleteReadError:
            raise ProtocolError("the answer breaks off") from None

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self._chunks()])

    async def lines(self) -> AsyncIterator[bytes]:
        """Each line as it comes, without its line break; blank ones (signs of life) are left out."""
        parts: List[bytes] = []
        async for chunk in self._chunks():
            *ended, rest = chunk.split(b"\n")
            for line in ended:
                parts.append(line)
                whole = b"".join(parts).rstrip(b"\r")
                parts = []
                if whole.strip():
                    yield whole
            parts.append(rest)
        whole = b"".join(parts)
        if whole.strip():
            yield whole

    async def close(self) -> None:
        if self._finished and self.headers.get("connection", "").lower() != "close":
            self._pool._give_back(self._streams)
        else:
            _abandon(self._streams)


class AsyncConnections:
    """Connections to one server, kept apart by event loop, since a stream belongs to one loop."""

    def __init__(self, endpoint: Endpoint, timeout_s: float, keep: int = 64) -> None:
        self.endpoint = endpoint
        self._timeout_s = timeout_s
        self._keep = keep
        self._idle: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, List[_Streams]]" = weakref.WeakKeyDictionary()

    async def request(
        self, method: str, path: str, body: Optional[bytes] = None, timeout_s: Optional[float] = None
    ) -> AsyncResponse:
        """Sends a request, returns once the answer's head is there. Raises ``OSError`` (time-outs too)."""
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        while True:
            streams, kept = await self._take()
            try:
                return await self._exchange(streams, method, path, body, timeout_s)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                _abandon(streams)
                if not kept:
                    raise ConnectionResetError(f"{self.endpoint} closed the connection without an answer") from error
            except BaseException:
                _abandon(streams)
                raise

    async def _exchange(
        self, streams: _Streams, method: str, path: str, body: Optional[bytes], timeout_s: float
    ) -> AsyncResponse:
        reader, writer = streams
        host = self.endpoint.host if ":" not in self.endpoint.host else f"[{self.endpoint.host}]"
        headers = {"Host": f"{host}:{self.endpoint.port}", **self.endpoint.headers()}
        if body is not None:
            headers.update({"Content-Type": "application/json", "Content-Length": str(len(body))})
        head = f"{method} {self.endpoint.prefix}{path} HTTP/1.1\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in headers.items()
        )
        writer.write(head.encode("latin-1") + b"\r\n" + (body or b""))
        await _unless_silent(writer.drain(), streams, timeout_s)
        while True:
            raw = await _unless_silent(reader.readuntil(b"\r\n\r\n"), streams, timeout_s)
            status, answer_headers = _parse_head(raw)
            if status >= 200:  # others announce the answer
                return AsyncResponse(self, streams, status, answer_headers, timeout_s)

    async def _take(self) -> Tuple[_Streams, bool]:
        idle = self._idle.get(asyncio.get_running_loop(), [])
        while idle:
            reader, writer = idle.pop()
            if not writer.is_closing() and not reader.at_eof():
                return (reader, writer), True
            writer.close()
        if self.endpoint.unix_path:
            opening = asyncio.open_unix_connection(self.endpoint.unix_path, limit=_MAX_LINE_BYTES)
        else:
            opening = asyncio.open_connection(
                self.endpoint.host, self.endpoint.port, limit=_MAX_LINE_BYTES, ssl=self.endpoint.tls_context()
            )
        return await _opened(opening, str(self.endpoint)), False

    def _give_back(self, streams: _Streams) -> None:
        idle = self._idle.setdefault(asyncio.get_running_loop(), [])
        if len(idle) < self._keep:
            idle.append(streams)
        else:
            streams[1].close()

    def close(self) -> None:
        """Closes what is idle. Connections of loops that run no more are dropped with them."""
        for loop, idle in list(self._idle.items()):
            while idle:
                writer = idle.pop()[1]
                if not loop.is_closed():
                    try:
                        loop.call_soon_threadsafe(writer.close)
                    except RuntimeError:
                        pass


# Not asyncio.wait_for: before CPython 3.12 it swallows a cancellation that arrives together with the
# result, and the task that was cancelled goes on.


async def _unless_silent(reading: Awaitable[_T], streams: _Streams, timeout_s: float) -> _T:
    """Waits for the other side, for so long at most; then the connection is dropped."""
    silent = False

    def drop() -> None:
        nonlocal silent
        silent = True
        _abandon(streams)

    timer = asyncio.get_running_loop().call_later(timeout_s, drop)
    try:
        result = await reading
        if not silent:
            return result
    except (OSError, asyncio.IncompleteReadError):
        if not silent:
            raise
    finally:
        timer.cancel()
    raise TimeoutError(f"the server was silent for {timeout_s:g} s")


async def _opened(opening: Coroutine[Any, Any, _Streams], where: str) -> _Streams:
    task = asyncio.ensure_future(opening)
    try:
        await asyncio.wait({task}, timeout=CONNECT_TIMEOUT_S)
        if task.done():
            return task.result()
        raise TimeoutError(f"{where} did not accept a connection within {CONNECT_TIMEOUT_S:g} s")
    except BaseException:
        task.add_done_callback(_abandon_opened)
        task.cancel()
        raise


def _abandon_opened(task: "asyncio.Task[_Streams]") -> None:
    if not task.cancelled() and task.exception() is None:
        _abandon(task.result())


def _abandon(streams: _Streams) -> None:
    """Drops a connection at once: what is under way on it is of no more use."""
    transport = streams[1].transport
    if transport is not None:
        transport.abort()


def _chunk_size(line: bytes) -> int:
    try:
        return int(line.split(b";")[0], 16)
    except ValueError:
        raise ProtocolError(f"no size of a chunk: {line[:40]!r}" if line else "the answer breaks off") from None


def _parse_head(raw: bytes) -> Tuple[int, Dict[str, str]]:
    first, *rest = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
        raise ProtocolError(f"no HTTP answer: {first[:80]!r}")
    headers: Dict[str, str] = {}
    for line in rest:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(parts[1]), headers
