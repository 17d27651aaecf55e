"""Where a server is, and how requests to it are made up. Shared by the blocking and the async client."""

import base64
import socket
import ssl
from dataclasses import dataclass, field
from typing import Dict, Optional
from urllib.parse import unquote, urlsplit

from .errors import RequestRejected

#: Seconds to reach the server.
CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Endpoint:
    """A server's address: ``http://…``, ``https://…`` or ``unix:/path``."""

    host: str
    port: int
    #: What stands before the paths of requests, without a slash at its end.
    prefix: str = ""
    tls: bool = False
    unix_path: Optional[str] = None
    #: Sent as a bearer token.
    token: Optional[str] = field(default=None, repr=False)
    #: ``user:password`` of the address, for a proxy that asks for it.
    userinfo: Optional[str] = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, token: Optional[str] = None) -> "Endpoint":
        """Raises ``ValueError`` for anything that is no address of a server."""
        if url.startswith("unix:"):
            path = url[len("unix:") :]
            path = path[2:] if path.startswith("///") else path
            if not path.startswith("/"):
                raise ValueError(f"a unix address names an absolute path, as in unix:/run/codejury.sock: {url!r}")
            return cls(host="localhost", port=0, unix_path=path, token=token)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"no address of a server, as http://127.0.0.1:8080 is one: {url!r}")
        try:
            port = parts.port
        except ValueError as error:
            raise ValueError(f"no port of a server: {url!r}: {error}") from None
        tls = parts.scheme == "https"
        userinfo = None
        if parts.username is not None:
            userinfo = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return cls(
            host=parts.hostname,
            port=port or (443 if tls else 80),
            prefix=parts.path.rstrip("/"),
            tls=tls,
            token=token,
            userinfo=userinfo,
        )

    def __str__(self) -> str:
        if self.unix_path:
            return f"unix:{self.unix_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.prefix}"

    def headers(self) -> Dict[str, str]:
        """What every request carries."""
        headers = {"Accept": "application/json, application/x-ndjson", "User-Agent": "codejury-python"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        elif self.userinfo:
            headers["Authorization"] = "Basic " + base64.b64encode(self.userinfo.encode()).decode()
        return headers

    def tls_context(self) -> Optional[ssl.SSLContext]:
        return ssl.create_default_context() if self.tls else None

    def connect(self, timeout_s: float) -> socket.socket:
        """A connected socket, with small packets sent at once. Raises ``OSError``."""
        if self.unix_path:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(timeout_s)
                sock.connect(self.unix_path)
            except OSError:
                sock.close()
                raise
            return sock
        sock = socket.create_connection((self.host, self.port), timeout=timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = self.tls_context()
        return context.wrap_socket(sock, server_hostname=self.host) if context else sock


def token_from(value: Optional[str]) -> Optional[str]:
    """The token, checked: it goes into a header line."""
    if value is None:
        return None
    token = value.strip()
    if not token or not token.isprintable() or " " in token:
        raise RequestRejected("the token is empty, or holds blanks or control characters")
    return token
