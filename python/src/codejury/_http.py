"""The blocking client: connections that are kept, answers that are read line by line."""

import http.client
import os
import threading
import weakref
from typing import Dict, Iterator, List, Optional

from ._endpoint import CONNECT_TIMEOUT_S, Endpoint


class _Connection(http.client.HTTPConnection):
    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        super().__init__(endpoint.host, endpoint.port or None)
        self._endpoint = endpoint
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = self._endpoint.connect(CONNECT_TIMEOUT_S)
        self.sock.settimeout(self._timeout_s)


class Response:
    """An answer whose body is still to be read. Close it; read to its end, its connection is used again."""

    def __init__(self, pool: "Connections", connection: _Connection, response: http.client.HTTPResponse) -> None:
        self._pool = pool
        self._connection = connection
        self._response = response
        self._finished = False

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Dict[str, str]:
        return {name.lower(): value for name, value in self._response.getheaders()}

    def read(self) -> bytes:
        body = self._response.read()
        self._finished = True
        return body

    def lines(self) -> Iterator[bytes]:
        """Each line as it comes, without its line break; blank ones (signs of life) are left out."""
        for line in self._response:
            if line.strip():
                yield line.rstrip(b"\r\n")
        self._finished = True

    def abort(self) -> None:
        """Ends the exchange from another thread: whoever reads gets an error or an end of file."""
        sock = self._connection.sock
        if sock is not None:
            try:
                sock.shutdown(2)
            except OSError:
                pass

    def close(self) -> None:
        if self._finished and not self._response.will_close:
            self._pool._give_back(self._connection)
        else:
            self._response.close()
            self._connection.close()

    def __enter__(self) -> "Response":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Connections:
    """Connections to one server, for any number of threads.

    A connection that was kept may have been closed by the server meanwhile. That is found out when it
    is used again, and then, before any answer has begun, the request is simply made anew.
    """

    def __init__(self, endpoint: Endpoint, timeout_s: float, keep: int = 32) -> None:
        self.endpoint = endpoint
        self._timeout_s = timeout_s
        self._keep = keep
        self._idle: List[_Connection] = []
        self._lock = threading.Lock()
        self._closed = False
        _POOLS.add(self)

    def request(
        self, method: str, path: str, body: Optional[bytes] = None, timeout_s: Optional[float] = None
    ) -> Response:
        """Sends a request, returns once the answer's head is there. Raises ``OSError`` or ``HTTPException``."""
        headers = self.endpoint.headers()
        if body is not None:
            headers["Content-Type"] = "application/json"
        while True:
            connection = self._take()
            kept = connection.sock is not None
            try:
                if connection.sock is None:
                    connection.connect()
                connection.sock.settimeout(self._timeout_s if timeout_s is None else timeout_s)
                connection.request(method, self.endpoint.prefix + path, body=body, headers=headers)
                return Response(self, connection, connection.getresponse())
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                connection.close()
                if not kept:
                    raise
            except BaseException:
                connection.close()
                raise

    def _take(self) -> _Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _Connection(self.endpoint, self._timeout_s)

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < self._keep:
                self._idle.append(connection)
                return
        connection.close()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        stale, self._idle = self._idle, []
        for connection in stale:
            connection.close()  # closes the child's copy; the parent's connection lives on

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


_POOLS: "weakref.WeakSet[Connections]" = weakref.WeakSet()


def _forget_after_fork() -> None:
    """A forked child has its parent's sockets, and two writers on one would garble both."""
    for pool in list(_POOLS):
        pool._forget()


os.register_at_fork(after_in_child=_forget_after_fork)
