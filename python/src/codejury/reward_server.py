"""Remote reward endpoints for trainers that want a URL: ``python -m codejury.reward_server``.

==================  ==========================================  =============================================
Path                Asks                                        Gets
==================  ==========================================  =============================================
``/get_reward``     OpenRLHF's ``--remote_rm_url``:             ``{"rewards", "scores", "extra_logs"}``
                    ``{"query", "prompts", "labels"}``
``/slime``          slime's ``--rm-url``:                       a number
                    ``{"prompt", "response", "label"}``
``/healthz``        anybody                                     ``ok``
==================  ==========================================  =============================================

Labels are native problem rows or verl's JSON. What cannot be judged is never scored: a bad request gets 400,
a failure of ours 503, and both trainers then try again. Listens on 127.0.0.1 unless told otherwise;
there is no authentication, so bind it wider only where every host is trusted.
"""

import argparse
import json
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, Optional, Sequence, Tuple

from .errors import CodejuryError, RequestRejected
from .openrlhf import score_queries
from .rewards import REWARDS, judge_for, problem_for, score_of

__all__ = ["RewardServer", "main"]

_MAX_BODY_BYTES = 256 * 1024 * 1024


class RewardServer(ThreadingHTTPServer):
    """Serves the endpoints; ``url`` and ``reward`` as in :func:`codejury.verl.compute_score`."""

    daemon_threads = True
    #: Trainers open a connection for each request, many at once.
    request_queue_size = 1024

    def __init__(self, address: Tuple[str, int], *, reward: str = "accepted", url: Optional[str] = None) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)
        self.reward = reward
        self.judge_url = url

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else str(host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}"


class _Handler(BaseHTTPRequestHandler):
    server: RewardServer
    protocol_version = "HTTP/1.1"
    #: A client that sends nothing for so long has gone.
    timeout = 120

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._answer(200, "ok")
        else:
            self._answer(404, {"error": f"no such path: {self.path}"})

    def do_POST(self) -> None:
        answerers = {"/get_reward": self._openrlhf, "/slime": self._slime}
        answerer = answerers.get(self.path.rstrip("/"))
        if answerer is None:
            self._answer(404, {"error": f"no such path: {self.path}; there are {', '.join(answerers)}"})
            return
        try:
            self._answer(200, answerer(self._body()))
        except RequestRejected as error:
            self._answer(400, {"error": str(error)})
        except CodejuryError as error:
            self.log_error("%s", error)
            self._answer(503, {"error": str(error)}, {"Retry-After": "1"})

    def _openrlhf(self, body: Dict[str, Any]) -> Any:
        queries, prompts, labels = (_list(body, name) for name in ("query", "prompts", "labels"))
        return score_queries(queries, prompts, labels, reward=self.server.reward, url=self.server.judge_url)

    def _slime(self, body: Dict[str, Any]) -> Any:
        if not isinstance(body.get("response"), str):
            raise RequestRejected("`response` is missing or no text")
        problem = problem_for(body.get("label"))
        verdict = judge_for(self.server.judge_url).judge(problem, body["response"])
        return score_of(verdict, self.server.reward)

    def _body(self) -> Dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _MAX_BODY_BYTES:
            self.close_connection = True
            raise RequestRejected(f"a request needs a Content-Length of at most {_MAX_BODY_BYTES} bytes")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise RequestRejected(f"the request is no JSON: {error}") from None
        if not isinstance(body, dict):
            raise RequestRejected("the request is no JSON object")
        return body

    def _answer(self, status: int, value: Any, headers: Optional[Dict[str, str]] = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        try:
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        pass  # one line for each of thousands of requests helps nobody


def _list(body: Dict[str, Any], name: str) -> Any:
    value = body.get(name)
    if not isinstance(value, list):
        raise RequestRejected(f"`{name}` is missing or no list")
    return value


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m codejury.reward_server", description="Remote reward endpoints for OpenRLHF and slime."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5000, help="port; 0 takes a free one (default: %(default)s)")
    parser.add_argument("--reward", choices=REWARDS, default="accepted", help="default: %(default)s")
    parser.add_argument("--url", help="a running `codejury serve` (default: CODEJURY_URL, else one is started)")
    options = parser.parse_args(arguments)
    try:
        judge_for(options.url)
        server = RewardServer((options.host, options.port), reward=options.reward, url=options.url)
    except (CodejuryError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.host not in ("127.0.0.1", "::1", "localhost"):
        print("warning: anyone who reaches this port can run programs in the sandbox", file=sys.stderr)
    print(f"listening on {server.url}: /get_reward (OpenRLHF), /slime (slime)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        threading.Thread(target=server.shutdown).start()
    finally:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
