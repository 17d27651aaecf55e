"""The sample of answers: what is kept, that it is always the same, and how it is written."""

import hashlib
import json
import random

from codejury.eval_config import (
    DATASET_CONFIGS,
    EVAL_CONSTANTS,
    QA_SAMPLING,
    TIERS,
    get_concurrency_config,
    get_sampling_params,
    get_sandbox_config,
    print_config_summary,
    validate_config,
)
from codejury.metrics import EvalResult
from codejury.qa_logger import QALogger, load_qa_logs

import pytest

KINDS = ["success", "wrong_answer", "syntax_error", "runtime_error", "timeout", "api_error"]


def fill(logger, counts, dataset="codecontests_valid", shuffle=0):
    rows = [(f"p/{kind}/{i}", kind) for kind, n in counts.items() for i in range(n)]
    random.Random(shuffle).shuffle(rows)
    for problem_id, kind in rows:
        logger.log(dataset=dataset, problem_id=problem_id, prompt="q", response=f"answer to {problem_id}",
                   eval_result=EvalResult(problem_id, kind == "success", float(kind == "success"), kind, 0.5),
                   gen_metadata={"gen_time": 1.5, "completion_tokens": 20, "finish_reason": "stop"})


def test_the_table_holds(tmp_path):
    cases = [("codecontests_valid", 30), ("mbpp_reg", 20), ("codecontests_valid_big", 50), ("codecontests_test", 50), ("humaneval", 30)]
    for dataset, size in cases:
        logger = QALogger(tmp_path)
        fill(logger, dict.fromkeys(KINDS, 40), dataset)
        kept = logger.sample(dataset)
        share = QA_SAMPLING[dataset]["min_per_error_type"]
        assert len(kept) == size == len({entry.problem_id for entry in kept}), dataset
        for kind in KINDS[:5]:
            assert sum(entry.error_type == kind for entry in kept) >= share, (dataset, kind)


def test_what_a_type_cannot_fill_goes_to_others(tmp_path):
    logger = QALogger(tmp_path, sample_size=30, min_per_error_type=6)
    fill(logger, {"success": 100, "timeout": 2})
    kept = logger.sample("codecontests_valid")
    assert len(kept) == 30 and sum(entry.error_type == "timeout" for entry in kept) == 2
    assert {entry.extra["sampled_as"] for entry in kept} == {"success", "timeout", "random"}
    small = QALogger(tmp_path, sample_size=30, min_per_error_type=6)
    fill(small, {"success": 3})
    assert len(small.sample("codecontests_valid")) == 3


def test_order_does_not_change_the_sample(tmp_path):
    samples = []
    for shuffle in range(3):
        logger = QALogger(tmp_path)
        fill(logger, dict.fromkeys(KINDS, 50), shuffle=shuffle)
        samples.append([entry.problem_id for entry in logger.sample("codecontests_valid")])
    assert samples[0] == samples[1] == samples[2]


def test_the_order_is_that_of_the_commands_hash(tmp_path):
    logger = QALogger(tmp_path, sample_size=9, min_per_error_type=1)
    fill(logger, {"success": 9, "api_error": 3})
    ids = [entry.problem_id for entry in logger.sample("codecontests_valid")]
    assert sorted(ids, key=lambda i: hashlib.sha256(f"codejury:qa:{i}".encode()).hexdigest()) == ids
    assert len(ids) == 9 and not any("api_error" in i for i in ids)


def test_files(tmp_path):
    logger = QALogger(tmp_path / "qa_logs", extra={"step": 500, "checkpoint": "global_step_500", "model": "m"})
    fill(logger, {"success": 3, "timeout": 1}, "humaneval")
    logger.log("humaneval", "odd", [{"role": "user", "content": "q"}], "lone \ud800 surrogate", EvalResult("odd", False, 0.0, "syntax_error", 0.1))
    logger.save()
    logger.save()  # again: the same files, replaced
    assert sorted(path.name for path in (tmp_path / "qa_logs").iterdir()) == ["humaneval_qa.jsonl", "qa_summary.json"]
    entries = load_qa_logs(tmp_path / "qa_logs" / "humaneval_qa.jsonl")
    assert len(entries) == 5
    one = next(entry for entry in entries if entry.error_type == "timeout")
    assert (one.gen_time, one.gen_tokens, one.judge_time) == (1.5, 20, 0.5)
    assert one.extra == {"step": 500, "checkpoint": "global_step_500", "model": "m", "finish_reason": "stop", "sampled_as": "timeout"}
    line = (tmp_path / "qa_logs" / "humaneval_qa.jsonl").read_text().splitlines()[0]
    assert list(json.loads(line)) == ["schema", "dataset", "problem_id", "prompt", "response", "accepted", "pass_ratio", "error_type",
                                      "judge_time", "gen_time", "gen_tokens", "extra"]
    summary = json.loads((tmp_path / "qa_logs" / "qa_summary.json").read_text())
    assert summary["total_logged"] == {"humaneval": 5} and summary["sampled"] == {"humaneval": 5}
    assert summary["error_distribution"] == {"humaneval": {"success": 3, "syntax_error": 1, "timeout": 1}}


def test_eval_config(capsys):
    assert {name: EVAL_CONSTANTS[name] for name in ("temperature", "top_p", "max_new_tokens", "run_timeout", "memory_limit_mb")} == {
        "temperature": 0.0, "top_p": 1.0, "max_new_tokens": 2048, "run_timeout": 30, "memory_limit_mb": 1024}
    assert get_sampling_params() == {"temperature": 0.0, "top_p": 1.0, "max_tokens": 2048}
    assert get_sampling_params("rollout")["n"] == 5
    with pytest.raises(ValueError):
        get_sampling_params("train")
    assert get_sandbox_config("humaneval") == get_sandbox_config() == {"run_timeout": 30, "memory_limit_mb": 1024}
    assert get_concurrency_config("unknown") == get_concurrency_config()
    assert [DATASET_CONFIGS[slug]["expected_problems"] for tier in TIERS.values() for slug in tier["datasets"]] == [117, 200, 500, 165, 164]
    assert validate_config() == []
    print_config_summary()
    assert "max_new_tokens" in capsys.readouterr().out
