"""Judges a few answers to one problem and prints what became of them.

    python examples/judge_a_batch.py
"""

from codejury import Judge

PROBLEM = {
    "problem_id": "second-largest",
    "kind": "call",
    "entry_point": "second_largest",
    "tests": [{"args": [[3, 1, 2]], "expected": 2}, {"args": [[5, 5, 4]], "expected": 4}, {"args": [[7, 7]], "expected": None}],
}

ANSWERS = [
    "```python\ndef second_largest(xs):\n    distinct = sorted(set(xs))\n    return distinct[-2] if len(distinct) > 1 else None\n```",
    "```python\ndef second_largest(xs):\n    return sorted(xs)[-2]\n```",
    "```python\ndef second_largest(xs):\n    while True: pass\n```",
    "```python\ndef second_largest(xs)\n    return 0\n```",
    "I would sort the list first.",
]

with Judge(limits={"wall_time_ms": 1000, "cpu_time_ms": 1000}) as judge:
    for verdict in judge.judge_batch([(PROBLEM, answer) for answer in ANSWERS]):
        print(f"{verdict.error_type:14} {verdict.error_subtype or '':16} {verdict.pass_ratio:.2f}")
