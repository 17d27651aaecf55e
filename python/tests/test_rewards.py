"""Reward functions for TRL, OpenRLHF and slime, and the endpoints for trainers that want a URL."""

import asyncio
import json
import threading
import types
import urllib.error
import urllib.request

import pytest
from conftest import ScriptedServer, stream, verdict_row

from codejury import RequestRejected, trl
from codejury import openrlhf, slime
from codejury.reward_server import RewardServer

PROBLEM = {"problem_id": "add", "kind": "stdio", "tests": [{"stdin": "1 2\n", "expected": "3\n"}, {"stdin": "2 2\n", "expected": "4\n"}]}
RIGHT, HALF = "```python\nprint(sum(map(int, input().split())))\n```", "```python\nprint(3)\n```"


@pytest.fixture(autouse=True)
def our_judge(judge, monkeypatch):
    import codejury.judge as module

    monkeypatch.setattr(module, "_default", judge)


def test_trl():
    columns = {"problem": [json.dumps(PROBLEM)] * 3, "trainer_state": object(), "completion_ids": [[1]] * 3}
    chat = [[{"role": "assistant", "content": text}] for text in (RIGHT, HALF, "no code")]
    for completions in ([RIGHT, HALF, "no code"], chat):
        assert trl.reward_func(prompts=["q"] * 3, completions=completions, **columns) == [1.0, 0.0, 0.0]
        assert asyncio.run(trl.areward_func(prompts=["q"] * 3, completions=completions, **columns)) == [1.0, 0.0, 0.0]
    ratio = trl.make_reward_func(reward="pass_ratio", column="tests", name="tests_passed")
    assert ratio.__name__ == "tests_passed" and trl.reward_func.__name__ == "codejury"
    assert ratio(completions=[RIGHT, HALF], tests=[PROBLEM] * 2) == [1.0, 0.5]
    verls = {"style": "rule", "ground_truth": {"inputs": ["1 2\n"], "outputs": ["3\n"]}}
    assert trl.reward_func(completions=[HALF], reward_model=[verls]) == [1.0]


def test_a_row_of_a_hand_off_means_what_its_evaluation_meant():
    """`codejury handoff export` says in each row how texts are searched, and for all rows what else decides."""
    from codejury import verl

    fenced = "```python\nprint(1)\n```"
    truth = json.dumps({"problem_id": "one", "kind": "stdio", "tests": [{"stdin": "", "expected": "1\n"}]})
    infos = [{"index": 0, "problem_id": "one", "extract": "chat"}, {"index": 1, "problem_id": "one", "extract": "completion"}, None]
    expected = ["success", "syntax_error", "success"]
    assert [verl.compute_score("d", fenced, truth, info)["error_type"] for info in infos] == expected
    assert [asyncio.run(verl.compute_score_async("d", fenced, truth, info))["error_type"] for info in infos] == expected
    batch = verl.compute_score_batch(["d"] * 3, [fenced] * 3, [truth] * 3, infos)
    assert [score["error_type"] for score in batch] == expected
    # First a wrong answer, then a crash: the option decides which of them counts.
    tests = [{"stdin": "1", "expected": "2\n"}, {"stdin": "x", "expected": "2\n"}]
    truth = json.dumps({"problem_id": "two", "kind": "stdio", "tests": tests})
    text = "```python\nprint(int(input()))\n```"
    kinds = [verl.compute_score("d", text, truth, options={"aggregate": word})["error_type"] for word in ("first", "worst")]
    assert kinds == ["wrong_answer", "runtime_error"]


def test_trl_logs_error_types():
    logged = {}
    trl.reward_func(completions=[RIGHT, HALF], problem=[PROBLEM] * 2, log_extra=logged.__setitem__)
    assert logged == {"error_type": ["success", "wrong_answer"]}


def test_trl_gets_none_for_a_failed_sandbox():
    rows = stream(lambda body: [verdict_row(c["problem_id"], c["sample"], ("success", "api_error")[c["sample"]]) for c in body["completions"]])
    with ScriptedServer(rows) as server:
        assert trl.make_reward_func(url=server.url)(completions=[RIGHT, RIGHT], problem=[PROBLEM] * 2) == [1.0, None]


def test_trl_without_completions_or_with_one_that_is_none():
    assert trl.reward_func(prompts=[], completions=[]) == []
    with pytest.raises(RequestRejected, match="not a NoneType"):
        trl.reward_func(completions=[None, RIGHT], problem=[PROBLEM] * 2)


def test_trl_names_a_missing_column():
    with pytest.raises(RequestRejected, match="'problem'.*answer"):
        trl.reward_func(completions=[RIGHT], answer=["4"])
    with pytest.raises(ValueError, match="reward is one of"):
        trl.make_reward_func(reward="binary")


def test_openrlhf_responses():
    prompt = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
    cases = [
        (prompt + "answer<|im_end|>", prompt, "answer"),
        (prompt + "answer<|im_end|>\n<|endoftext|>", prompt, "answer"),
        ("<s>" + prompt + "answer</s>", prompt, "answer"),
        ("q answer", "q", " answer"),
        ("nothing in common", "q?", "nothing in common"),
        ("answer", "", "answer"),
    ]
    for query, given, response in cases:
        assert openrlhf.response_of(query, given) == response


def test_openrlhf():
    scored = openrlhf.score_queries(["q" + RIGHT, "q" + HALF], ["q", "q"], [json.dumps(PROBLEM)] * 2, reward="pass_ratio")
    assert scored == {"rewards": [1.0, 0.5], "scores": [1.0, 0.5], "extra_logs": {"accepted": [1.0, 0.0], "pass_ratio": [1.0, 0.5]}}
    with pytest.raises(RequestRejected, match="do not match"):
        openrlhf.score_queries(["q"], [], [])


def test_slime():
    def sample(text):
        return types.SimpleNamespace(prompt="q", response=text, label=json.dumps(PROBLEM), metadata={})

    args = types.SimpleNamespace()
    assert asyncio.run(slime.reward_func(args, sample(RIGHT))) == 1.0
    assert asyncio.run(slime.reward_func(args, [sample(RIGHT), sample(HALF)])) == [1.0, 0.0]
    args.codejury_reward = "pass_ratio"
    assert asyncio.run(slime.reward_func(args, sample(HALF))) == 0.5


@pytest.fixture()
def endpoints():
    server = RewardServer(("127.0.0.1", 0), reward="pass_ratio")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server.url
    server.shutdown()
    server.server_close()


def post(url, value, raw=None):
    request = urllib.request.Request(url, data=raw if raw is not None else json.dumps(value).encode(), headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_endpoints(endpoints):
    label = json.dumps(PROBLEM)
    status, answer = post(endpoints + "/get_reward", {"query": ["q" + RIGHT, "q" + HALF], "prompts": ["q"] * 2, "labels": [label] * 2})
    assert status == 200 and answer["rewards"] == [1.0, 0.5] and set(answer) == {"rewards", "scores", "extra_logs"}
    assert post(endpoints + "/slime", {"prompt": "q", "response": HALF, "label": label}) == (200, 0.5)
    assert post(endpoints + "/slime", {"prompt": "q", "response": HALF, "label": PROBLEM}) == (200, 0.5)
    with urllib.request.urlopen(endpoints + "/healthz", timeout=10) as answer:
        assert json.load(answer) == "ok"


@pytest.mark.parametrize(
    "path, value, raw, status, message",
    [
        ("/get_reward", {"query": ["a"]}, None, 400, "prompts"),
        ("/get_reward", {"query": "a", "prompts": [], "labels": []}, None, 400, "query"),
        ("/get_reward", {"query": ["a"], "prompts": ["b"], "labels": ["c"]}, None, 400, "no JSON"),
        ("/slime", {"response": 3}, None, 400, "response"),
        ("/slime", {"response": "x", "label": {}}, None, 400, "neither"),
        ("/slime", None, b"{", 400, "no JSON"),
        ("/slime", None, b"[" * 100_000, 400, "no JSON"),
        ("/slime", [], None, 400, "object"),
        ("/elsewhere", {}, None, 404, "/get_reward"),
    ],
)
def test_bad_requests_are_answered_never_scored(endpoints, path, value, raw, status, message):
    got, answer = post(endpoints + path, value, raw)
    assert got == status and message in answer["error"]


def test_our_failure_is_a_503(monkeypatch, endpoints):
    import codejury.judge as module
    from codejury import Judge

    gone = Judge("http://127.0.0.1:1", unreachable_patience_s=0.1)
    monkeypatch.setattr(module, "_default", gone)
    status, answer = post(endpoints + "/slime", {"response": RIGHT, "label": PROBLEM})
    assert status == 503 and "no answer" in answer["error"]
