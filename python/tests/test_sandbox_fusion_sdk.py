"""The published `sandbox-fusion` package, unchanged, against `codejury serve`: every call it has."""

import asyncio
import base64
import json

import pytest

sandbox_fusion = pytest.importorskip("sandbox_fusion")

from sandbox_fusion import (  # noqa: E402
    CommandRunStatus,
    GetPromptByIdRequest,
    GetPromptsRequest,
    RunCodeRequest,
    RunJupyterRequest,
    RunStatus,
    SubmitRequest,
    SummaryMapping,
    TestConfig,
    run_concurrent,
)

OJ_ROW = {
    "id": 7,
    "content": "Add two numbers.",
    "labels": json.dumps({"difficulty": "easy"}),
    "test": json.dumps([{"input": {"stdin": "1 2\n"}, "output": {"stdout": "3\n"}}, {"input": {"stdin": "2 2\n"}, "output": {"stdout": "4\n"}}]),
}
RIGHT = "Here:\n```python\nprint(sum(map(int, input().split())))\n```\n"


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


def config(row=OJ_ROW, dataset_type="CommonOJDataset", **more):
    return TestConfig(language="python", dataset_type=dataset_type, provided_data=row, **more)


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


def test_submit():
    right = SubmitRequest(dataset="mine", id=7, completion=RIGHT, config=config())
    result = both(sandbox_fusion.submit, sandbox_fusion.submit_async, right)
    assert result.accepted and result.id == 7 and len(result.tests) == 2 and "input()" in result.extracted_code
    wrong = SubmitRequest(dataset="mine", id="seven", completion="```python\nprint(3)\n```", config=config())
    result = both(sandbox_fusion.submit, sandbox_fusion.submit_async, wrong)
    assert not result.accepted and result.id == "seven" and [test.passed for test in result.tests] == [True, False]


def test_submit_safe():
    right = SubmitRequest(dataset="mine", id=7, completion=RIGHT, config=config())
    assert both(sandbox_fusion.submit_safe, sandbox_fusion.submit_safe_async, right).accepted
    unknown = SubmitRequest(dataset="mine", id=7, completion=RIGHT, config=config(dataset_type="NoSuchDataset"))
    assert not both(sandbox_fusion.submit_safe, sandbox_fusion.submit_safe_async, unknown, max_attempts=1).accepted


def test_prompts():
    rows = GetPromptsRequest(dataset="mine", config=config([OJ_ROW]))
    prompts = both(sandbox_fusion.get_prompts, sandbox_fusion.get_prompts_async, rows)
    assert [prompt.id for prompt in prompts] == [7] and "Add two numbers." in prompts[0].prompt
    one = GetPromptByIdRequest(dataset="mine", id=7, config=config())
    assert both(sandbox_fusion.get_prompt_by_id, sandbox_fusion.get_prompt_by_id_async, one).prompt == prompts[0].prompt


def test_mbpp_and_humaneval():
    mbpp = {"id": 11, "content": "Write a function to square a number.", "labels": {"test_setup_code": ""},
            "test_list": ["assert sq(2) == 4", "assert sq(3) == 9"]}
    for body, accepted in (("x * x", True), ("x + x", False)):
        completion = f"```python\ndef sq(x):\n    return {body}\n```"
        request = SubmitRequest(dataset="mine", id=11, completion=completion, config=config(mbpp, "MBPPDataset"))
        assert sandbox_fusion.submit(request).accepted is accepted
    humaneval = {"id": 0, "task_id": "HumanEval/0", "prompt": "def inc(x):\n", "entry_point": "inc",
                 "test": "def check(f):\n    assert f(1) == 2\n\ncheck(inc)\n", "labels": {}, "content": "def inc(x):\n"}
    for body, accepted in (("x + 1", True), ("x", False)):
        request = SubmitRequest(dataset="mine", id=0, completion=f"    return {body}\n", config=config(humaneval, "HumanEvalDataset"))
        assert sandbox_fusion.submit(request).accepted is accepted


def test_concurrent():
    requests = [RunCodeRequest(code=f"print({i})", language="python") for i in range(100)]
    results = run_concurrent(sandbox_fusion.run_code, [[request] for request in requests], concurrency=32)
    assert [result.run_result.stdout for result in results] == [f"{i}\n" for i in range(100)]

    async def all_at_once():
        return await asyncio.gather(*(sandbox_fusion.run_code_async(request) for request in requests))

    assert [result.run_result.stdout for result in asyncio.run(all_at_once())] == [f"{i}\n" for i in range(100)]
