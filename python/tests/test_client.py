"""The client against a server that misbehaves on purpose: what is retried, what is raised, what is never lost."""

import asyncio
import pickle
import threading
import time

import pytest
from conftest import ScriptedServer, answer, stream, verdict_row, verdicts_for

from codejury import Judge, RequestRejected, SandboxFailed, ServerBusy, ServerUnavailable

PROBLEM = {"problem_id": "add", "kind": "stdio", "tests": [{"stdin": "", "expected": ""}]}


def judge_at(server, **settings):
    settings = {"unreachable_patience_s": 0.3, "busy_patience_s": 0.3, **settings}
    return Judge(server.url, **settings)


def both_ways(judge, pairs, **options):
    """The blocking call and its async twin must do the same."""
    return judge.judge_batch(pairs, **options), asyncio.run(judge.ajudge_batch(pairs, **options))


def test_what_is_sent():
    with ScriptedServer(stream(verdicts_for)) as server, Judge(server.url, token="secret") as judge:
        judge.judge(PROBLEM, "text", limits={"wall_time_ms": 5}, compare="exact", extract="none")
        [body] = server.requests
        assert body["problems"] == [{**PROBLEM, "compare": "exact", "limits": {"wall_time_ms": 5}}]
        assert body["completions"] == [{"problem_id": "add", "sample": 0, "completion": "text"}]
        assert body["options"] == {"extract": "none"}
        assert server.tokens == ["Bearer secret"]


def test_the_row_is_left_as_it_was_and_its_reference_stays_here():
    with ScriptedServer(stream(verdicts_for)) as server, Judge(server.url) as judge:
        problem = {**PROBLEM, "reference": "print()", "limits": {"wall_time_ms": 1, "memory_bytes": 2}}
        before = dict(problem)
        judge.judge(problem, source="print()", limits={"wall_time_ms": 5})
        assert problem == before
        assert "reference" not in server.requests[0]["problems"][0]
        assert server.requests[0]["problems"][0]["limits"] == {"wall_time_ms": 5, "memory_bytes": 2}
        assert server.requests[0]["completions"] == [{"problem_id": "add", "sample": 0, "source": "print()"}]


def test_order_is_kept_whatever_the_server_does():
    backwards = stream(lambda body: reversed(verdicts_for(body)))
    with ScriptedServer(backwards) as server, judge_at(server) as judge:
        pairs = [({**PROBLEM, "problem_id": f"p{i // 3}"}, str(i)) for i in range(700)]
        for verdicts in both_ways(judge, pairs):
            assert [(v.problem_id, v.sample) for v in verdicts] == [(f"p{i // 3}", i % 3) for i in range(700)]


def test_a_group_shares_its_problem():
    with ScriptedServer(stream(verdicts_for)) as server, judge_at(server) as judge:
        judge.judge_batch([(PROBLEM, str(i)) for i in range(16)])
        assert len(server.requests) == 1
        assert len(server.requests[0]["problems"]) == 1
        assert [c["sample"] for c in server.requests[0]["completions"]] == list(range(16))


def test_two_problems_of_one_name_are_kept_apart():
    other = {**PROBLEM, "tests": [{"stdin": "1", "expected": "1"}]}
    with ScriptedServer(stream(verdicts_for)) as server, judge_at(server) as judge:
        assert len(judge.judge_batch([(PROBLEM, "a"), (other, "b"), (PROBLEM, "c")])) == 3
        assert all(len(body["problems"]) == 1 for body in server.requests)


def test_after_a_broken_answer_only_the_rest_is_asked_again():
    first_two = stream(lambda body: verdicts_for(body)[:2], done=False, cut=True)
    for run in ("blocking", "async"):
        with ScriptedServer(first_two, stream(verdicts_for)) as server, judge_at(server) as judge:
            pairs = [(PROBLEM, str(i)) for i in range(5)]
            verdicts = judge.judge_batch(pairs) if run == "blocking" else asyncio.run(judge.ajudge_batch(pairs))
            assert [v.sample for v in verdicts] == list(range(5)), run
            # Four requests of a batch may be under way in the async form; only the first has work here.
            assert [len(body["completions"]) for body in server.requests] == [5, 3], run


def test_an_answer_without_its_last_line_is_no_answer():
    silent_end = stream(verdicts_for, done=False)
    with ScriptedServer(silent_end, stream(verdicts_for)) as server, judge_at(server) as judge:
        # All verdicts are there, but the server did not say that it was through: the next try asks nothing.
        assert judge.judge(PROBLEM, "x").accepted


@pytest.mark.parametrize("status", [429, 503, 504])
def test_later_is_obeyed(status):
    for run in ("blocking", "async"):
        steps = [answer(status, {"detail": "full"}, Retry_After="0"), stream(verdicts_for)]
        with ScriptedServer(*steps) as server, judge_at(server, busy_patience_s=20) as judge:
            verdict = judge.judge(PROBLEM, "x") if run == "blocking" else asyncio.run(judge.ajudge(PROBLEM, "x"))
            assert verdict.accepted and len(server.requests) == 2


def test_a_queue_that_stays_full_is_raised_not_scored():
    with ScriptedServer(answer(429, {"detail": "full"})) as server, judge_at(server) as judge:
        with pytest.raises(ServerBusy, match="429"):
            judge.judge(PROBLEM, "x")
        with pytest.raises(ServerBusy, match="429"):
            asyncio.run(judge.ajudge(PROBLEM, "x"))
        assert len(server.requests) >= 4


@pytest.mark.parametrize("status", [500, 502])
def test_a_server_that_fails_is_asked_again_then_raised(status):
    with ScriptedServer(answer(status, {"detail": "bug"}), stream(verdicts_for)) as server, judge_at(server) as judge:
        assert judge.judge(PROBLEM, "x").accepted
    with ScriptedServer(answer(status, {"detail": "bug"})) as server, judge_at(server) as judge:
        with pytest.raises(ServerUnavailable, match="bug"):
            judge.judge(PROBLEM, "x")
        with pytest.raises(ServerUnavailable, match="bug"):
            asyncio.run(judge.ajudge(PROBLEM, "x"))


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_refusal_is_raised_at_once(status):
    with ScriptedServer(answer(status, {"detail": "problems[0]: field `kind`: missing"})) as server, judge_at(server) as judge:
        for call in (lambda: judge.judge(PROBLEM, "x"), lambda: asyncio.run(judge.ajudge(PROBLEM, "x"))):
            with pytest.raises(RequestRejected, match="field `kind`") as caught:
                call()
            assert caught.value.status == status
        assert len(server.requests) == 2


def test_a_request_that_is_too_large_is_halved():
    def step(handler, body):
        (answer(413, {"detail": "too large"}) if len(body["completions"]) > 2 else stream(verdicts_for))(handler, body)

    with ScriptedServer(step) as server, judge_at(server) as judge:
        for verdicts in both_ways(judge, [(PROBLEM, str(i)) for i in range(7)]):
            assert [v.sample for v in verdicts] == list(range(7))
    with ScriptedServer(answer(413, {"detail": "too large"})) as server, judge_at(server) as judge:
        with pytest.raises(RequestRejected, match="too large"):
            judge.judge(PROBLEM, "x")


def test_nobody_there():
    with ScriptedServer(answer(200, {})) as server:
        url = server.url
    judge = Judge(url, unreachable_patience_s=0.2)
    for call in (lambda: judge.judge(PROBLEM, "x"), lambda: asyncio.run(judge.ajudge(PROBLEM, "x")), lambda: judge.run_code("1")):
        started = time.monotonic()
        with pytest.raises(ServerUnavailable, match="no answer"):
            call()
        assert time.monotonic() - started < 20


def test_a_silent_server_is_given_up():
    hang = threading.Event()
    with ScriptedServer(lambda handler, body: hang.wait(20)) as server:
        judge = judge_at(server, silence_timeout_s=0.2)
        for call in (lambda: judge.judge(PROBLEM, "x"), lambda: asyncio.run(judge.ajudge(PROBLEM, "x"))):
            with pytest.raises(ServerUnavailable):
                call()
        hang.set()


def test_a_failed_sandbox_is_raised_none_or_kept_but_never_a_zero():
    def rows(body):
        return [verdict_row(c["problem_id"], c["sample"], "api_error" if c["sample"] == 1 else "success",
                            evidence={"failure": "no cell"}) for c in body["completions"]]

    with ScriptedServer(stream(rows)) as server, judge_at(server) as judge:
        pairs = [(PROBLEM, str(i)) for i in range(3)]
        with pytest.raises(SandboxFailed, match="1 of 3.*no cell") as caught:
            judge.judge_batch(pairs)
        assert [v.accepted for v in caught.value.verdicts] == [True, False, True]
        assert judge.judge_batch(pairs, on_failure="none")[1] is None
        assert judge.judge_batch(pairs, on_failure="keep")[1].failed_by_us
        with pytest.raises(ValueError, match="on_failure"):
            judge.judge_batch(pairs, on_failure="ignore")


@pytest.mark.parametrize(
    "row", [b"not json\n", {"error": "judging ended"}, {"schema": "codejury.verdict/1"}, verdict_row("stranger")]
)
def test_nonsense_in_the_answer_is_never_a_verdict(row):
    with ScriptedServer(stream(lambda body: [row])) as server, judge_at(server) as judge:
        for call in (lambda: judge.judge(PROBLEM, "x"), lambda: asyncio.run(judge.ajudge(PROBLEM, "x"))):
            with pytest.raises((ServerUnavailable, KeyError)):
                call()


def test_leaving_the_loop_ends_the_requests():
    gone = threading.Event()

    def endless(handler, body):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        import json

        line = json.dumps(verdicts_for(body)[0]).encode() + b"\n"
        try:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            for _ in range(2000):
                handler.wfile.write(b"1\r\n\n\r\n")  # signs of life
                time.sleep(0.01)
        except OSError:
            gone.set()

    async def leave():
        async for _ in judge.ajudge_stream(pairs):
            break

    with ScriptedServer(endless) as server, judge_at(server) as judge:
        for n in (2, 500):
            pairs = [(PROBLEM, str(i)) for i in range(n)]
            gone.clear()
            for _ in judge.judge_stream(pairs):
                break
            assert gone.wait(10), f"blocking, {n}"
            gone.clear()
            asyncio.run(leave())
            assert gone.wait(10), f"async, {n}"


def test_a_cancelled_task_ends_its_request():
    arrived, gone = threading.Event(), threading.Event()

    def wait(handler, body):
        arrived.set()
        handler.connection.settimeout(10)
        if not handler.rfile.read(1):
            gone.set()

    async def cancel():
        task = asyncio.ensure_future(judge.ajudge(PROBLEM, "x"))
        await asyncio.get_running_loop().run_in_executor(None, arrived.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with ScriptedServer(wait) as server, judge_at(server) as judge:
        asyncio.run(cancel())
        assert gone.wait(10)


def test_pairs_are_read_as_they_are_needed():
    read = []

    def endless():
        for i in range(10**9):
            read.append(i)
            yield PROBLEM, str(i)

    with ScriptedServer(stream(verdicts_for)) as server, judge_at(server) as judge:
        for count, _ in enumerate(judge.judge_stream(endless())):
            if count == 1000:
                break
    assert len(read) < 1000 + 1024 + 10 * 128


def test_a_failing_source_of_pairs_fails_the_call():
    def broken():
        for i in range(300):
            yield PROBLEM, str(i)
        raise LookupError("the file ended early")

    with ScriptedServer(stream(verdicts_for)) as server, judge_at(server) as judge:
        with pytest.raises(LookupError):
            judge.judge_batch(broken())
        with pytest.raises(LookupError):
            asyncio.run(judge.ajudge_batch(broken()))


def test_many_threads_share_one_judge():
    with ScriptedServer(stream(verdicts_for)) as server, judge_at(server, unreachable_patience_s=20) as judge:
        wrong = []

        def work(n):
            for i in range(20):
                verdict = judge.judge({**PROBLEM, "problem_id": f"{n}-{i}"}, "x")
                if verdict.problem_id != f"{n}-{i}":
                    wrong.append(verdict)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong and len(server.requests) == 640


@pytest.mark.parametrize(
    "pair, message",
    [
        (("no mapping", "x"), "mapping"),
        (({"problem_id": "a"}, "x"), "kind"),
        ((PROBLEM, 3), "text or a mapping"),
        ((PROBLEM, {}), "exactly one"),
        ((PROBLEM, {"completion": "a", "source": "b"}), "exactly one"),
        (({**PROBLEM, "tests": [float("nan")]}, "x"), "JSON"),
        (({**PROBLEM, "tests": {1, 2}}, "x"), "JSON"),
    ],
)
def test_bad_arguments_are_named(pair, message):
    with ScriptedServer(stream(verdicts_for)) as server, judge_at(server) as judge:
        with pytest.raises((TypeError, RequestRejected), match=message):
            judge.judge_batch([pair])
        assert not server.requests


def test_lone_surrogates_travel():
    with ScriptedServer(stream(verdicts_for)) as server, judge_at(server) as judge:
        judge.judge(PROBLEM, "print('\ud800')")
        assert server.requests[0]["completions"][0]["completion"] == "print('\ud800')"


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://", "", "unix:relative", "http://127.0.0.1:99999", "http://127.0.0.1:port"])
def test_bad_addresses(url):
    with pytest.raises(ValueError, match="server|absolute") as caught:
        Judge(url)
    assert repr(url) in str(caught.value)


def test_the_address_of_a_call_is_no_address_of_a_server():
    with ScriptedServer(answer(404, {"detail": "Not Found"})) as server, judge_at(server) as judge:
        with pytest.raises(RequestRejected, match="a url ends with its host and port"):
            judge.judge(PROBLEM, "x")


def test_settings_that_contradict():
    with pytest.raises(ValueError, match="started server"):
        Judge("http://127.0.0.1:1", workers=2)
    with pytest.raises(RequestRejected, match="token"):
        Judge("http://127.0.0.1:1", token="two words")
    judge = Judge("http://127.0.0.1:1")
    with pytest.raises(TypeError, match="either"):
        judge.judge(PROBLEM)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(judge)
    judge.close()
    judge.close()
    with pytest.raises(ServerUnavailable, match="closed"):
        judge.judge(PROBLEM, "x")
    assert "closed" in repr(judge)


def test_an_empty_batch_asks_nothing():
    with ScriptedServer(stream(verdicts_for)) as server, judge_at(server) as judge:
        assert both_ways(judge, []) == ([], [])
        assert not server.requests


def test_run_code_retries_a_failed_sandbox_and_raises():
    failed = {"status": "SandboxError", "message": "no cell", "compile_result": None, "run_result": None, "files": {}}
    run = {"status": "Finished", "execution_time": 0.1, "return_code": 0, "stdout": "a", "stderr": ""}
    good = {**failed, "status": "Success", "message": "", "run_result": run, "files": {"out": "YQ=="}}
    with ScriptedServer(answer(200, failed), answer(200, good)) as server, judge_at(server) as judge:
        result = judge.run_code("print('a', end='')", stdin="x", files={"in": b"\xff"}, fetch_files=["out"], memory_limit_mb=64)
        assert result.ok and result.stdout == "a" and result.files == {"out": b"a"}
        assert server.requests[0]["files"] == {"in": "/w=="} and server.requests[0]["memory_limit_MB"] == 64
        assert asyncio.run(judge.arun_code("1")).ok
    with ScriptedServer(answer(200, failed)) as server, judge_at(server) as judge:
        with pytest.raises(SandboxFailed, match="no cell"):
            judge.run_code("1")
        with pytest.raises(SandboxFailed, match="no cell"):
            asyncio.run(judge.arun_code("1"))
