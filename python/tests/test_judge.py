"""The embedded server and real verdicts."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from codejury import Judge, RequestRejected, ServerStartError, ServerUnavailable, default_judge

RIGHT = "```python\na, b = map(int, input().split())\nprint(a + b)\n```"


def gone(pid, within_s=15.0):
    """Whether a process ends in time. A zombie has ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_the_bundled_suite_has_the_verdicts_it_must_have(judge, starter):
    problems, completions, expected = starter
    pairs = [(problems[row["problem_id"]], row) for row in completions]
    verdicts = judge.judge_batch(pairs)
    assert len(verdicts) == 120
    for row, verdict in zip(completions, verdicts):
        wanted = expected[row["problem_id"], row["sample"]]
        got = {"problem_id": verdict.problem_id, "sample": row["sample"], "error_type": verdict.error_type,
               "error_subtype": verdict.error_subtype, "pass_ratio": verdict.pass_ratio}
        assert got == wanted
    assert asyncio.run(judge.ajudge_batch(pairs)) == verdicts
    streamed = dict(judge.judge_stream(pairs))
    assert [streamed[i] for i in range(120)] == verdicts


@pytest.mark.parametrize(
    "completion, error_type, subtype, ratio",
    [
        (RIGHT, "success", None, 1.0),
        ("```python\nprint(3)\n```", "wrong_answer", "wrong_output", 0.5),
        ("```python\nprint(\n```", "syntax_error", "SyntaxError", 0.0),
        ("```python\n1/0\n```", "runtime_error", "ZeroDivisionError", 0.0),
        ("", "syntax_error", "no_code", 0.0),
        ("I cannot do that.", "syntax_error", "SyntaxError", 0.0),
        ("```python\nprint('\ud800')\n```", "syntax_error", None, 0.0),
    ],
)
def test_verdicts(judge, add, completion, error_type, subtype, ratio):
    for verdict in (judge.judge(add, completion), asyncio.run(judge.ajudge(add, completion))):
        assert (verdict.error_type, verdict.pass_ratio) == (error_type, ratio)
        assert subtype is None or verdict.error_subtype == subtype
        assert verdict.accepted is (error_type == "success")
        assert "<b" in verdict._repr_html_()


def test_limits_and_comparison_win_over_the_row(judge, add):
    slow = {**add, "limits": {"wall_time_ms": 20_000}}
    verdict = judge.judge(slow, source="while True: pass", limits={"wall_time_ms": 300, "cpu_time_ms": 300})
    assert verdict.error_type == "timeout" and verdict.near_limit
    case = {**add, "tests": [{"stdin": "", "expected": "YES"}]}
    assert not judge.judge(case, source="print('yes')").accepted
    assert judge.judge(case, source="print('yes')", compare="tokens_ci").accepted


def test_rollouts_are_judged_once(judge, add):
    program = f"# {time.time_ns()}\nprint(sum(map(int, input().split())))"
    first, second = judge.judge(add, source=program), judge.judge(add, source=program)
    assert (first.cached, second.cached) == (False, True) and first == second


def test_a_bad_row_is_named(judge, add):
    bad = {**add, "tests": [{"stdin": 3, "expected": "3"}]}
    for call in (lambda: judge.judge(bad, "x"), lambda: asyncio.run(judge.ajudge(bad, "x"))):
        with pytest.raises(RequestRejected, match=r"stdin") as caught:
            call()
        assert caught.value.status in (400, 422)
    with pytest.raises(RequestRejected, match="no_such_option"):
        judge.judge(add, "x", no_such_option=1)


def test_run_code(judge):
    result = judge.run_code("import sys; print(sys.stdin.read().upper(), end='')", stdin="abc")
    assert (result.ok, result.stdout, result.return_code) == (True, "ABC", 0)
    failed = judge.run_code("raise SystemExit(3)")
    assert (failed.ok, failed.return_code, failed.timed_out) == (False, 3, False)
    late = judge.run_code("print('part', flush=True)\nwhile True: pass", run_timeout_s=0.5)
    assert late.timed_out and late.stdout == "part\n" and late.return_code is None
    files = judge.run_code("open('out/b', 'wb').write(open('in/a', 'rb').read()[::-1])",
                           files={"in/a": b"\x00\xff", "out/.keep": ""}, fetch_files=["out/b", "missing"])
    assert files.ok and files.files == {"out/b": b"\xff\x00"}
    assert asyncio.run(judge.arun_code("print(1)")).stdout == "1\n"
    assert judge.run_code("echo $((6*7))", language="bash").stdout == "42\n"


def test_many_at_once(judge, add):
    async def all_at_once():
        return await asyncio.gather(*(judge.ajudge({**add, "problem_id": str(i)}, f"# {i}\n" + RIGHT.split("\n", 1)[1][:-4]) for i in range(200)))

    verdicts = asyncio.run(all_at_once())
    assert [v.problem_id for v in verdicts] == [str(i) for i in range(200)] and all(v.accepted for v in verdicts)


def test_a_cancelled_call_frees_its_cell(add):
    forever = {**add, "limits": {"wall_time_ms": 60_000, "cpu_time_ms": 60_000}}

    async def leave():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(judge.ajudge(forever, source="while True: pass"), 1.0)

    with Judge(workers=1) as judge:
        asyncio.run(leave())
        started = time.monotonic()
        assert judge.judge(add, RIGHT).accepted
        assert time.monotonic() - started < 30


def test_closing_ends_the_server_and_frees_its_folder(add):
    with Judge(workers=1) as judge:
        pid, folder = judge._server.pid, judge._server._folder
        assert judge.judge(add, RIGHT).accepted and os.path.isdir(folder)
    assert gone(pid) and not os.path.exists(folder)
    with pytest.raises(ServerUnavailable):
        judge.judge(add, RIGHT)


def test_a_dropped_judge_ends_its_server(add):
    judge = Judge(workers=1)
    pid = judge._server.pid
    assert judge.judge(add, RIGHT).accepted
    del judge
    assert gone(pid)


CHILD = """
    import os, sys, time
    from codejury import Judge
    judge = Judge(workers=1{extra})
    print(judge._server.pid, flush=True)
    {then}
"""


def start_child(then, extra="", **environment):
    code = textwrap.dedent(CHILD.format(then=then, extra=extra))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    return child, int(child.stdout.readline())


@pytest.mark.parametrize("then", ["time.sleep(600)", "sys.exit(3)", "os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_the_server_ends_with_its_process_however_that_ends(then):
    child, pid = start_child(then)
    if "sleep" in then:
        child.send_signal(signal.SIGKILL)
    child.wait(30)
    child.stdout.close()
    assert gone(pid)


def test_a_server_that_was_killed_is_started_again(add):
    with Judge(workers=1) as judge:
        first = judge._server.pid
        os.kill(first, signal.SIGKILL)
        assert judge.judge(add, RIGHT).accepted
        second = judge._server.pid
        os.kill(second, signal.SIGKILL)
        assert asyncio.run(judge.ajudge(add, RIGHT)).accepted
        assert len({first, second, judge._server.pid}) == 3


def test_killed_while_it_judges(add):
    """Nothing is lost and nothing is asked twice in vain: the batch ends with every verdict."""
    pairs = [({**add, "problem_id": str(i)}, {"source": f"import time; time.sleep(0.01); print({i})"}) for i in range(300)]
    with Judge() as judge:
        victim = judge._server.pid
        threading.Timer(0.5, os.kill, (victim, signal.SIGKILL)).start()
        verdicts = judge.judge_batch(pairs)
        assert [v.problem_id for v in verdicts] == [str(i) for i in range(300)]
        assert all(v.error_type == "wrong_answer" for v in verdicts if v.problem_id not in ("3", "10"))


def test_processes_share_a_server(tmp_path, add):
    environment = {"CODEJURY_RUNTIME_DIR": str(tmp_path / "run")}
    one, pid_one = start_child("time.sleep(600)", ", shared=True", **environment)
    two, pid_two = start_child("print(judge.judge(%r, %r).accepted, flush=True); time.sleep(600)" % (add, RIGHT), ", shared=True", **environment)
    assert pid_one == pid_two
    assert two.stdout.readline() == "True\n"
    one.kill()
    one.wait(30)
    time.sleep(0.5)
    three, pid_three = start_child("time.sleep(600)", ", shared=True", **environment)
    assert pid_three == pid_one, "the server outlives the process that started it"
    for child in (two, three):
        child.kill()
        child.wait(30)
    assert gone(pid_one)
    four, pid_four = start_child("time.sleep(600)", ", shared=True", **environment)
    assert pid_four != pid_one
    os.kill(pid_four, signal.SIGKILL)
    five, pid_five = start_child("print(judge.judge(%r, %r).accepted, flush=True)" % (add, RIGHT), ", shared=True", **environment)
    assert pid_five != pid_four and five.stdout.readline() == "True\n"
    for child in (four, five):
        child.kill()
        child.wait(30)
    for child in (one, two, three, four, five):
        child.stdout.close()
    assert gone(pid_five)
    assert os.stat(tmp_path / "run").st_mode & 0o777 == 0o700


def test_many_processes_start_at_once_and_get_one_server(tmp_path):
    environment = {"CODEJURY_RUNTIME_DIR": str(tmp_path / "run")}
    started = [None] * 6

    def start(n):
        started[n] = start_child("time.sleep(600)", ", shared=True", **environment)

    threads = [threading.Thread(target=start, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({pid for _, pid in started}) == 1
    for child, _ in started:
        child.kill()
        child.wait(30)
        child.stdout.close()
    assert gone(started[0][1])


def test_a_folder_that_others_can_enter_is_not_shared_in(tmp_path, monkeypatch):
    open_folder = tmp_path / "open"
    open_folder.mkdir(mode=0o755)
    monkeypatch.setenv("CODEJURY_RUNTIME_DIR", str(open_folder))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "nowhere" / f"codejury-{os.getuid()}").symlink_to(open_folder)
    with pytest.raises(ServerStartError, match="nobody else can enter"):
        Judge(shared=True)


def test_a_forked_child_has_connections_of_its_own(judge, add):
    assert judge.judge(add, RIGHT).accepted
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        ok = b"no"
        try:
            ok = b"ok" if all(judge.judge({**add, "problem_id": f"c{i}"}, RIGHT).problem_id == f"c{i}" for i in range(20)) else ok
        finally:
            os.write(writer, ok)
            os._exit(0)
    mine = [judge.judge({**add, "problem_id": f"p{i}"}, RIGHT).problem_id for i in range(20)]
    os.waitpid(pid, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert file.read() == b"ok"
    assert mine == [f"p{i}" for i in range(20)]


def test_a_server_that_cannot_start_says_why(monkeypatch, tmp_path):
    with pytest.raises(ServerStartError, match="no-such-flag"):
        Judge(server_args=["--no-such-flag"])
    monkeypatch.setenv("CODEJURY_BINARY", str(tmp_path / "absent"))
    with pytest.raises(Exception, match="CODEJURY_BINARY names"):
        Judge()


def test_the_default_judge(monkeypatch, judge, tmp_path, add):
    import codejury.judge as module

    monkeypatch.setattr(module, "_default", None)
    monkeypatch.setenv("CODEJURY_URL", str(judge.endpoint))
    token = tmp_path / "token"
    token.write_text(judge.endpoint.token + "\n")
    monkeypatch.setenv("CODEJURY_TOKEN_FILE", str(token))
    found = default_judge()
    assert found is default_judge() and str(found.endpoint) == str(judge.endpoint)
    assert found.judge(add, RIGHT).accepted
    monkeypatch.setenv("CODEJURY_TOKEN", "wrong")
    with pytest.raises(RequestRejected, match="token"):
        Judge(str(judge.endpoint)).judge(add, RIGHT)


def test_the_command_is_bundled():
    done = subprocess.run([sys.executable, "-m", "codejury", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("codejury ")
