"""The published `sandbox-fusion` package, unchanged, against `codejury serve`."""

import asyncio
import base64
import json

import pytest

sandbox_fusion = pytest.importorskip("sandbox_fusion")

from sandbox_fusion import (  # noqa: E402
    CommandRunStatus,
    RunCodeRequest,
    RunJupyterRequest,
    RunStatus,
    SummaryMapping,
    run_concurrent,
)

@pytest.fixture(scope="module", autouse=True)
def endpoint():
    """A server without a token: the SDK has no way to send one."""
    import subprocess
    import tempfile
    import time
    from pathlib import Path

    from codejury._binary import find_binary

    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder, "ready")
        command = [find_binary(), "serve", "--listen", "127.0.0.1:0", "--ready-file", str(ready)]
        with open(Path(folder, "log"), "wb") as log:
            server = subprocess.Popen(command, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while not ready.exists():
                assert server.poll() is None and time.monotonic() < deadline, Path(folder, "log").read_text()
                time.sleep(0.02)
            url = json.loads(ready.read_text())["url"]
            sandbox_fusion.set_endpoint(url + "/")  # it trims the slash
            yield url
        finally:
            server.terminate()
            server.wait(60)


def both(call, call_async, request, **options):
    """Each call in its blocking and its async form; the answers must agree but for what is measured."""
    one = call(request, **options)
    other = asyncio.run(call_async(request, **options))
    assert type(one) is type(other)
    return one


def test_run_code():
    request = RunCodeRequest(code="print(input())", language="python", stdin="hi\n", run_timeout=5)
    result = both(sandbox_fusion.run_code, sandbox_fusion.run_code_async, request)
    assert result.status == RunStatus.Success and result.run_result.stdout == "hi\n"
    assert result.run_result.status == CommandRunStatus.Finished and result.run_result.return_code == 0
    assert isinstance(result.run_result.execution_time, float) and result.compile_result is None


def test_run_code_files():
    request = RunCodeRequest(code="open('out.bin','wb').write(open('dir/in.bin','rb').read() * 2)", language="python",
                             files={"dir/in.bin": base64.b64encode(b"\0\xff").decode()}, fetch_files=["out.bin", "absent"])
    result = both(sandbox_fusion.run_code, sandbox_fusion.run_code_async, request)
    assert {name: base64.b64decode(data) for name, data in result.files.items()} == {"out.bin": b"\0\xff\0\xff"}


@pytest.mark.parametrize(
    "code, language, summary",
    [
        ("print(1)", "python", "ok"),
        ("raise SystemExit(1)", "python", "failed"),
        ("while True: pass", "python", "late"),
        ("echo hi", "bash", "ok"),
        ("exit 3", "bash", "failed"),
    ],
)
def test_summaries(code, language, summary):
    mapping = SummaryMapping(Success="ok", Failed="?", RunFailed="failed", RunTimeout="late")
    result = sandbox_fusion.run_code(RunCodeRequest(code=code, language=language, run_timeout=1.0), max_attempts=1)
    assert sandbox_fusion.summary_run_code_result(result, mapping) == summary


def test_compile_errors_have_their_own_summary():
    import shutil

    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    mapping = SummaryMapping(Success="ok", Failed="?", CompileFailed="compile")
    for code, summary in (("int main() { return 0; }", "ok"), ("int main() { return x; }", "compile")):
        result = both(sandbox_fusion.run_code, sandbox_fusion.run_code_async, RunCodeRequest(code=code, language="cpp"))
        assert sandbox_fusion.summary_run_code_result(result, mapping) == summary


def test_run_jupyter():
    request = RunJupyterRequest(cells=["x = 41", "print(x + 1)", "1/0", "x"], total_timeout=40)
    result = both(sandbox_fusion.run_jupyter, sandbox_fusion.run_jupyter_async, request)
    assert result.status == RunStatus.Success and len(result.cells) == 4
    assert result.cells[1].stdout == "42\n"
    assert result.cells[2].error[0]["ename"] == "ZeroDivisionError"
    assert result.cells[3].display[0]["text/plain"] == "41"


def test_concurrent():
    requests = [RunCodeRequest(code=f"print({i})", language="python") for i in range(100)]
    results = run_concurrent(sandbox_fusion.run_code, [[request] for request in requests], concurrency=32)
    assert [result.run_result.stdout for result in results] == [f"{i}\n" for i in range(100)]

    async def all_at_once():
        return await asyncio.gather(*(sandbox_fusion.run_code_async(request) for request in requests))

    assert [result.run_result.stdout for result in asyncio.run(all_at_once())] == [f"{i}\n" for i in range(100)]
