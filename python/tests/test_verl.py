"""The published `verl` package, unchanged: its own scorer, its hook for reward functions, its reward managers.

verl is installed without its dependencies; what is heavy is stubbed at import (`heavy_stubs.py`).
"""

import asyncio
import importlib.metadata
import json
import multiprocessing
import subprocess
import time
from pathlib import Path

import pytest
from conftest import REPO

try:
    importlib.metadata.version("verl")
except importlib.metadata.PackageNotFoundError:
    pytest.skip("verl is not installed", allow_module_level=True)

import heavy_stubs  # noqa: E402

heavy_stubs.install()

import numpy  # noqa: E402
import verl  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402
from verl.trainer.ppo.reward import get_custom_reward_fn, load_reward_manager  # noqa: E402
from verl.utils.reward_score import default_compute_score  # noqa: E402
from verl.utils.reward_score.sandbox_fusion import utils as fusion  # noqa: E402

import codejury.verl  # noqa: E402
from codejury import RequestRejected, SandboxFailed  # noqa: E402

STDIO = {"inputs": ["1 2\n", "5 6\n"], "outputs": ["3\n", "11\n"]}
CALL = {"inputs": ["[3, 1, 2]", "[]"], "outputs": ["[1, 2, 3]", "[]"], "fn_name": "order"}
ASSERTS = {"assert_case": ["assert double(2) == 4", "assert double(0) == 0"]}


def fenced(code):
    return f"Let me think.\n```python\n{code}\n```\nDone."


# name, ground truth, response, verl's score, ours, pass ratio, error type
CASES = [
    ("right", STDIO, fenced("print(sum(map(int, input().split())))"), 1.0, 1.0, 1.0, "success"),
    ("half right", STDIO, fenced("print(3)"), 0.5, 0.0, 0.5, "wrong_answer"),
    ("does not compile", STDIO, fenced("print("), 0.0, 0.0, 0.0, "syntax_error"),
    ("raises", STDIO, fenced("1/0"), 0.0, 0.0, 0.0, "runtime_error"),
    ("a function", CALL, fenced("def order(xs):\n    return sorted(xs)"), 1.0, 1.0, 1.0, "success"),
    ("a method", CALL, fenced("class Solution:\n    def order(self, xs):\n        return sorted(xs)"), 1.0, 1.0, 1.0, "success"),
    ("a wrong function", CALL, fenced("def order(xs):\n    return xs"), 0.5, 0.0, 0.5, "wrong_answer"),
    ("asserts", ASSERTS, fenced("def double(x):\n    return 2 * x"), 1.0, 1.0, 1.0, "success"),
    ("half the asserts", ASSERTS, fenced("def double(x):\n    return 0"), 0.5, 0.0, 0.5, "wrong_answer"),
    ("no code at all", STDIO, "I do not know.", 0.0, 0.0, 0.0, "syntax_error"),
]
IDS = [case[0] for case in CASES]


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    """A server without a token: verl has no way to send one."""
    from codejury._binary import find_binary

    ready = tmp_path_factory.mktemp("server") / "ready"
    with open(ready.with_suffix(".log"), "wb") as log:
        server = subprocess.Popen([find_binary(), "serve", "--listen", "127.0.0.1:0", "--ready-file", str(ready)], stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert server.poll() is None and time.monotonic() < deadline, ready.with_suffix(".log").read_text()
            time.sleep(0.02)
        yield json.loads(ready.read_text())["url"]
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture(autouse=True)
def our_judge(judge, monkeypatch):
    """The reward functions judge with the session's server."""
    import codejury.judge as module

    monkeypatch.setattr(module, "_default", judge)


# verl's own scorer, with `codejury serve` in SandboxFusion's place


@pytest.mark.parametrize("name, truth, response, theirs, ours, ratio, kind", CASES, ids=IDS)
def test_verls_scorer_is_served(open_server, name, truth, response, theirs, ours, ratio, kind):
    url = f"{open_server}/run_code"
    with multiprocessing.Manager() as manager:
        semaphore = manager.Semaphore(64)
        for ground_truth in (json.dumps(truth), dict(truth)):
            score = default_compute_score("codecontests", response, ground_truth, sandbox_fusion_url=url,
                                          concurrent_semaphore=semaphore, memory_limit_mb=1024)
            assert score == theirs


def test_verls_codes(open_server):
    """Each of the scorer's result codes comes from the right answer of ours."""
    url = f"{open_server}/run_code"
    cases = [("print(input())", True), ("print('x')", False), ("raise SystemExit(1)", -2), ("while True: pass", -3), ("x = = 1", -2)]
    for code, expected in cases:
        results, details = fusion.check_correctness(url, {"inputs": ["a\n"], "outputs": ["a\n"]}, code, timeout=2)
        assert results == [expected], (code, details)
        assert details[0]["api_request_error"] is None


def test_a_large_answer_is_not_cut(open_server):
    expected = "\n".join(map(str, range(100_000)))
    results, _ = fusion.check_correctness(f"{open_server}/run_code", {"inputs": [""], "outputs": [expected]}, "for i in range(100_000): print(i)")
    assert results == [True]


def test_a_hundred_cases_at_once(open_server):
    truth = {"inputs": [f"{i}\n" for i in range(100)], "outputs": [f"{2 * i}\n" for i in range(100)]}
    results, details = fusion.check_correctness(f"{open_server}/run_code", truth, "print(2 * int(input()))")
    assert results == [True] * 100, [d for d in details if d["status"] != "success"][:3]


def test_numpy_under_verls_memory_limit(open_server):
    truth = {"inputs": ["1 2 3\n"], "outputs": ["6\n"]}
    code = "try:\n    import numpy\nexcept ImportError:\n    print(6)\nelse:\n    print(int(numpy.array(input().split(), dtype=int).sum()))"
    results, details = fusion.check_correctness(f"{open_server}/run_code", truth, code, memory_limit_mb=1024)
    assert results == [True], details


# our reward function in verl's hook


def hooked(path="pkg://codejury.verl", name="compute_score", **kwargs):
    section = {"path": path, "name": name, "reward_kwargs": kwargs}
    return get_custom_reward_fn(OmegaConf.create({"reward": {"custom_reward_function": section}}))


@pytest.mark.parametrize("name, truth, response, theirs, ours, ratio, kind", CASES, ids=IDS)
def test_the_hook_takes_our_function(name, truth, response, theirs, ours, ratio, kind):
    arguments = {"data_source": "apps", "solution_str": response, "ground_truth": json.dumps(truth), "extra_info": {"index": 3}}
    expected = {"score": ours, "acc": ours, "pass_ratio": ratio, "error_type": kind}
    assert hooked()(**arguments) == expected
    assert asyncio.run(hooked(name="compute_score_async")(**arguments)) == expected
    assert hooked(reward="pass_ratio", as_float=True)(**arguments) == ratio


def test_the_hook_takes_the_file_too():
    score = hooked(path=codejury.verl.__file__)("codecontests", CASES[0][2], STDIO)
    assert score["score"] == 1.0


def test_a_native_row_and_arrays_of_parquet():
    native = {"kind": "stdio", "problem_id": "p", "tests": [{"stdin": "1 2\n", "expected": "3\n"}], "entry_point": None}
    arrays = {"inputs": numpy.array(STDIO["inputs"], dtype=object), "outputs": numpy.array(STDIO["outputs"], dtype=object)}
    for truth in (native, json.dumps(native), arrays):
        assert codejury.verl.compute_score("codecontests", CASES[0][2], truth)["score"] == 1.0


def test_a_batch():
    n = len(CASES)
    scores = codejury.verl.compute_score_batch(["apps"] * n, [case[2] for case in CASES], [case[1] for case in CASES], [None] * n)
    assert [score["error_type"] for score in scores] == [case[6] for case in CASES]
    assert [score["pass_ratio"] for score in scores] == [case[5] for case in CASES]


def test_a_batch_that_does_not_fit_is_refused_whole():
    text = CASES[0][2]
    assert codejury.verl.compute_score_batch([], [], []) == []
    for columns in ((["apps"] * 2, [text] * 2, [STDIO]), (["apps"], [text] * 2, [STDIO] * 2), (["apps"], [text], [STDIO], [])):
        with pytest.raises(RequestRejected, match="of one length"):
            codejury.verl.compute_score_batch(*columns)


def test_a_response_that_is_no_text_is_refused():
    with pytest.raises(RequestRejected, match="not a NoneType"):
        codejury.verl.compute_score("apps", None, STDIO)
    with pytest.raises(RequestRejected, match="not a NoneType"):
        asyncio.run(codejury.verl.compute_score_async("apps", None, STDIO))
    with pytest.raises(RequestRejected, match="not a NoneType"):
        codejury.verl.compute_score_batch(["apps"] * 2, [CASES[0][2], None], [STDIO] * 2)


@pytest.mark.parametrize("name", ["sandboxfusion", "codejury"])
def test_the_configurations_of_deploy_fit_verl(name):
    folder = Path(verl.__file__).parent / "trainer" / "config"
    theirs = OmegaConf.load(folder / "_generated_ppo_trainer.yaml")
    OmegaConf.set_struct(theirs, True)  # as hydra does: a key that verl does not know is an error
    ours = OmegaConf.load(REPO / "deploy" / "verl" / f"{name}.yaml")
    merged = OmegaConf.merge(theirs, ours)
    assert merged.reward.sandbox_fusion.url.endswith("/run_code")
    assert merged.reward.sandbox_fusion.keys() == theirs.reward.sandbox_fusion.keys()


def test_integers_of_a_contest_are_exact_and_floats_are_not():
    truth = {"inputs": [""], "outputs": ["1000000 0.5"]}
    for printed, right in (("1000000 0.500000001", 1.0), ("1000001 0.5", 0.0)):
        assert codejury.verl.compute_score("codecontests", fenced(f"print('{printed}')"), truth)["score"] == right
    assert codejury.verl.compute_score("apps", fenced("print('1000000 0.500000001')"), truth)["score"] == 0.0


def test_no_verdict_is_no_reward(monkeypatch):
    with pytest.raises(RequestRejected, match="neither"):
        codejury.verl.compute_score("codecontests", CASES[0][2], {"answer": "42"})
    with pytest.raises(ValueError, match="reward is one of"):
        codejury.verl.compute_score("codecontests", CASES[0][2], STDIO, reward="score")

    class Broken:
        def judge(self, *_, **__):
            raise SandboxFailed("no cell")

    import codejury.judge as module

    monkeypatch.setattr(module, "_default", Broken())
    Broken._closed = False
    with pytest.raises(SandboxFailed):
        hooked()("codecontests", CASES[0][2], STDIO)


# our reward managers


class Tokenizer:
    """Characters as tokens."""

    def decode(self, ids, skip_special_tokens=True):
        return "".join(chr(int(i)) for i in ids)


class Item:
    def __init__(self, response, truth, width=400):
        ids = [ord(c) for c in response]
        self.batch = {
            "prompts": numpy.zeros(4, dtype=int),
            "responses": numpy.array(ids + [0] * (width - len(ids))),
            "attention_mask": numpy.array([1] * 4 + [1] * len(ids) + [0] * (width - len(ids))),
        }
        self.non_tensor_batch = {"data_source": "apps", "reward_model": {"ground_truth": json.dumps(truth)}, "extra_info": {"index": 0}}


class Data(list):
    """As much of a DataProto as verl's own managers use."""

    def __getitem__(self, key):
        found = super().__getitem__(key)
        return Data(found) if isinstance(key, slice) else found


def manager_config(manager, custom=None, **reward_kwargs):
    return OmegaConf.create({"reward": {"custom_reward_function": custom or {}, "reward_manager": manager, "reward_kwargs": reward_kwargs, "sandbox_fusion": {}}})


def scores_of(manager):
    async def all_of_them():
        manager.loop = asyncio.get_running_loop()
        return await asyncio.gather(*(manager.run_single(Data([Item(case[2], case[1])])) for case in CASES))

    return asyncio.run(all_of_them())


def test_our_manager_is_loaded_and_scores():
    ours = {"source": "importlib", "name": "CodejuryRewardManager", "module": {"path": "pkg://codejury.verl_reward_manager"}}
    for kwargs, column in (({}, 4), ({"reward": "pass_ratio"}, 5)):
        results = scores_of(load_reward_manager(manager_config(ours, **kwargs), Tokenizer()))
        assert [result["reward_score"] for result in results] == [case[column] for case in CASES]
        assert [result["reward_extra_info"]["error_type"] for result in results] == [case[6] for case in CASES]


@pytest.mark.parametrize("function", ["compute_score", "compute_score_async"])
def test_verls_naive_manager_with_our_function(function):
    custom = {"path": "pkg://codejury.verl", "name": function}
    manager = load_reward_manager(manager_config({"source": "register", "name": "naive"}, custom), Tokenizer())
    results = scores_of(manager)
    assert [result["reward_score"] for result in results] == [case[4] for case in CASES]


def test_verls_naive_manager_with_its_own_scorer(open_server):
    config = manager_config({"source": "register", "name": "naive"})
    config.reward.sandbox_fusion = {"url": f"{open_server}/run_code", "max_concurrent": 64, "memory_limit_mb": 1024}
    results = scores_of(load_reward_manager(config, Tokenizer()))
    assert [result["reward_score"] for result in results] == [case[3] for case in CASES]


def test_the_manager_for_older_verl_is_registered():
    from verl.workers.reward_manager import get_reward_manager_cls

    from codejury.verl_reward_manager import BatchCodejuryRewardManager

    assert get_reward_manager_cls("codejury") is BatchCodejuryRewardManager
