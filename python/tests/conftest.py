"""Fixtures. `scripts/python-tests` installs the wheel; to try a source tree, put `src` on PYTHONPATH and name
a build of the command in CODEJURY_BINARY."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
STARTER = REPO / "data" / "starter"


def pytest_configure(config):
    config.addinivalue_line("markers", "shared_data: reads public datasets from ../shared/datasets")


@pytest.fixture(scope="session")
def starter():
    """The bundled suite: problems by id, completions in order, and what must come out."""

    def rows(name):
        with open(STARTER / name, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    problems = {row["problem_id"]: row for row in rows("problems.jsonl")}
    expected = {(row["problem_id"], row["sample"]): row for row in rows("expected.jsonl")}
    return problems, rows("completions.jsonl"), expected


@pytest.fixture(scope="session")
def judge():
    """An embedded judge, one for the whole session."""
    from codejury import Judge

    with Judge() as judge:
        yield judge


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """In CI nothing may be skipped, and a skip is a failure there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped and exitstatus in (0, 5):
        reporter.write_line(f"CI skips nothing, but {len(skipped)} tests were: {skipped[0].longrepr}")
        session.exitstatus = 1


@pytest.fixture()
def shared_data():
    """The folder of public datasets. Without it such tests are skipped, which CI does not allow."""
    folder = Path(os.environ.get("CODEJURY_DATASETS", REPO.parent / "shared" / "datasets"))
    if not folder.is_dir():
        pytest.skip(f"no public datasets in {folder}; CODEJURY_DATASETS can name another folder")
    return folder


ADD = {"problem_id": "add", "kind": "stdio", "tests": [{"stdin": "1 2\n", "expected": "3\n"}, {"stdin": "5 5\n", "expected": "10\n"}]}


@pytest.fixture()
def add():
    """A small problem: two test cases, the sum of two numbers."""
    return json.loads(json.dumps(ADD))


def verdict_row(problem_id="add", sample=0, error_type="success", **more):
    """A verdict row as the server writes it."""
    passed = error_type == "success"
    usage = {"wall_time_ms": 1.0, "cpu_time_ms": 1.0, "setup_time_ms": 0.5, "memory_peak_bytes": 1024}
    row = {
        "schema": "codejury.verdict/1", "problem_id": problem_id, "sample": sample, "dataset": "d", "kind": "stdio",
        "accepted": passed, "pass_ratio": None if error_type == "api_error" else float(passed), "n_tests": 1,
        "error_type": error_type, "error_subtype": None, "error_types": {error_type: 1}, "evidence": None,
        "output_matched": passed, "compare": "tokens", "extraction": "fenced", "truncated": False,
        "integrity": "isolated", "isolation": "namespaces", "backend": "native", "wasm": None, "near_limit": False,
        "tests": [{"index": 0, "error_type": error_type, "error_subtype": None, "first_difference": None, "usage": usage}],
        "judge_time": 0.001, "path": "warm", "cached": False, "usage": usage,
    }
    row.update(more)
    return row


class ScriptedServer:
    """A server that does what a test says, request by request, to see what the client makes of it.

    A step is a function of the handler and the parsed request body. The last one is repeated.
    """

    def __init__(self, *steps):
        self.steps = list(steps)
        self.requests = []
        self.tokens = []
        self._lock = threading.Lock()
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with script._lock:
                    script.requests.append(body)
                    script.tokens.append(self.headers.get("Authorization"))
                    step = script.steps.pop(0) if len(script.steps) > 1 else script.steps[0]
                step(self, body)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 512
            daemon_threads = True

            def handle_error(self, *_):
                pass  # clients that leave are part of the tests

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def answer(status, value, **headers):
    """A step: this answer."""

    def step(handler, _):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        handler.send_response(status)
        for name, text in headers.items():
            handler.send_header(name.replace("_", "-"), str(text))
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return step


def stream(rows_of, *, done=True, cut=False):
    """A step: a chunked NDJSON stream of what `rows_of(body)` gives; `cut` drops the connection after it."""

    def step(handler, body):
        handler.send_response(200)
        handler.send_header("Content-Type", "application/x-ndjson")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        rows = list(rows_of(body))
        if done:
            rows.append({"done": True, "n": len(rows), "api_errors": 0})
        for row in rows:
            line = row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n"
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            handler.wfile.flush()
        if cut:
            handler.close_connection = True
            handler.connection.shutdown(2)
        else:
            handler.wfile.write(b"0\r\n\r\n")

    return step


def verdicts_for(body, error_type="success"):
    return [verdict_row(c["problem_id"], c["sample"], error_type) for c in body["completions"]]
