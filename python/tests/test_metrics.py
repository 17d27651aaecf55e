"""The figures of the collector are those of the command for the same verdicts, to the last bit."""

import json
import random
import subprocess

import pytest
from conftest import verdict_row

from codejury import ERROR_TYPES, Verdict
from codejury._binary import find_binary
from codejury.metrics import EvalResult, MetricsCollector
from codejury.stats import Bootstrap, pass_at_k, quantile, wilson95


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """The bundled suite as the command judges it: its summary and its verdicts."""
    out = tmp_path_factory.mktemp("judged")
    subprocess.run([find_binary(), "judge", "--out", str(out)], check=True, capture_output=True)
    summary = json.loads((out / "summary.json").read_text())["datasets"]["starter"]
    [verdicts] = (out / "verdicts").iterdir()
    flat = json.loads((out / "metrics.json").read_text())
    return summary, flat, [json.loads(line) for line in verdicts.read_text().splitlines()]


def truncated_in(starter):
    _, completions, _ = starter
    return {(row["problem_id"], row["sample"]): row.get("truncated") for row in completions}


def test_the_summary_is_the_commands(judged, starter):
    theirs, flat, rows = judged
    assert len(rows) == 120
    ks = sorted(int(name[5:]) for name in theirs if name.startswith("pass@") and not name.endswith("_judged"))
    collector = MetricsCollector(ks=ks, bootstrap=Bootstrap(**theirs["bootstrap"]))
    random.Random(1).shuffle(rows)  # the order of arrival must not matter
    for row in rows:
        collector.add_result("starter", EvalResult.from_verdict(Verdict.from_row(row)))
    if theirs["wall_clock_time"] is not None:
        collector.set_wall_clock_time("starter", theirs["wall_clock_time"])
    ours = json.loads(json.dumps(collector.get_dataset_metrics("starter")))
    # What only the command knows: how fast its own session was, and facts of generation.
    ours["throughput"] = theirs["throughput"]
    for metric in ("truncation_rate", "truncation_rate_judged", "avg_gen_tokens"):
        assert ours[metric] is None or ours[metric] == theirs[metric], metric
    for name, value in theirs.items():
        if name in ours and ours[name] is not None:
            assert ours[name] == value, name
    assert set(theirs) <= set(ours) | {"schema"}
    wandb = collector.get_wandb_metrics()
    shared = set(flat) & set(wandb)
    assert len(shared) > 20 and all(flat[key] == wandb[key] for key in shared if "throughput" not in key)


def result(problem_id, error_type="success", **more):
    verdict = Verdict.from_row(verdict_row(problem_id, more.pop("sample", 0), error_type))
    made = EvalResult.from_verdict(verdict)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_one_sample_a_problem():
    collector = MetricsCollector()
    kinds = ["success", "success", "wrong_answer", "wrong_answer", "syntax_error", "runtime_error", "timeout", "api_error"]
    for i, kind in enumerate(kinds):
        collector.add_result("d", result(f"p{i}", kind))
    collector.set_wall_clock_time("d", 4.0)
    numbers = collector.get_dataset_metrics("d")
    expected = {"n": 8, "n_judged": 7, "n_samples": 8, "exec_success_rate": 0.5, "exec_success_rate_judged": 4 / 7,
                "accepted_at_1": 0.25, "api_error_rate": 0.125, "pass_ratio_mean": 2 / 7, "pass_ratio_p90": 1.0,
                "avg_gen_tokens": None, "truncation_rate": None, "throughput": 2.0, "pass@1_judged": 2 / 7}
    for name, value in expected.items():
        assert numbers[name] == value, name
    assert numbers["ci95"]["exec_success_rate"] == wilson95(4, 8)


def test_several_samples_are_means_of_means():
    collector = MetricsCollector(ks=(1, 2, 3))
    for sample, kind in enumerate(["success", "syntax_error"]):
        collector.add_result("d", result("a", kind, sample=sample))
    for sample, kind in enumerate(["success", "wrong_answer", "runtime_error", "api_error"]):
        collector.add_result("d", result("b", kind, sample=sample))
    numbers = collector.get_dataset_metrics("d")
    assert numbers["accepted_at_1"] == (0.5 + 0.25) / 2
    assert numbers["pass@2"] == 0.75 and numbers["pass@3"] is None
    assert numbers["notes"][0] == "pass@3 is null: problem a has 2 samples"


def test_older_scripts_find_their_names():
    collector = MetricsCollector()
    collector.add_result("humaneval", EvalResult("HumanEval/0", True, 1.0, "success", 0.5, 200, 1.5))
    collector.add_result("humaneval", EvalResult("HumanEval/1", False, 0.0, "timeout", 30.0, 100, 1.0, {"why": "slow"}))
    collector.add_result("mbpp_reg", EvalResult("MBPP/11", False, None, "api_error", 0.0))
    collector.set_wall_clock_time("humaneval", 10.0)
    summary = collector.get_summary()
    one = summary["datasets"]["humaneval"]
    expected = {"dataset": "humaneval", "total_problems": 2, "accepted_at_1": 0.5, "timeout_rate": 0.5, "avg_gen_tokens": 150.0,
                "total_gen_tokens": 300, "cost_per_solved_tokens": 300.0, "cost_per_solved_judge_time": 30.5, "throughput": 0.2}
    for name, value in expected.items():
        assert one[name] == value, name
    assert summary["overall"]["total_problems"] == 3 and summary["overall"]["accepted_at_1"] == pytest.approx(1 / 3)
    assert summary["datasets"]["mbpp_reg"]["pass_ratio_mean"] is None  # nothing was judged: not known, so not 0
    assert collector.get_error_distribution()["timeout"] == 1 and set(collector.get_error_distribution()) == set(ERROR_TYPES)
    assert "eval/humaneval/exec_success_rate" in collector.get_wandb_metrics()
    json.dumps(summary, allow_nan=False)


def test_nothing_collected():
    assert MetricsCollector().get_summary() == {"datasets": {}, "overall": {}}
    numbers = MetricsCollector().get_dataset_metrics("d")
    assert numbers["n"] == 0 and numbers["accepted_at_1"] is None


def test_bad_results():
    with pytest.raises(ValueError, match="unknown error type"):
        EvalResult("p", False, 0.0, "WA", 0.1)
    collector = MetricsCollector()
    collector.add_result("d", result("p", sample=1))
    with pytest.raises(ValueError, match="sample 1 already"):
        collector.add_result("d", result("p", sample=1))


def test_the_bootstrap_is_the_same_with_and_without_numpy():
    pytest.importorskip("numpy")
    draw = random.Random(5)
    for n in (1, 2, 3, 117, 500):
        values = tuple(draw.random() for _ in range(n))
        bootstrap = Bootstrap(seed=n, resamples=200)
        assert bootstrap._means(values) == bootstrap._means_with_numpy(values)
    assert Bootstrap(resamples=50).mean95([0.5] * 9) == [0.5, 0.5]
    assert Bootstrap().mean95([]) is None


def test_published_values():
    # statsmodels, method="wilson"; and the estimator's definition.
    assert wilson95(1, 2) == pytest.approx([0.09453120573423074, 0.9054687942657693])
    assert wilson95(0, 0) is None
    cases = [((1, 1, 1), 1.0), ((5, 2, 1), 0.4), ((10, 3, 5), 1 - 21 / 252), ((200, 1, 100), 0.5), ((4, 1, 5), None), ((4, 1, 0), None)]
    for arguments, expected in cases:
        assert pass_at_k(*arguments) == pytest.approx(expected) if expected is not None else pass_at_k(*arguments) is None
    assert quantile([1.0, 2.0, 4.0, 8.0], 0.9) == pytest.approx(6.8)
