"""Scores a verl training row as verl would, without verl: try your data before a run.

    python examples/verl_reward.py                      a built-in row
    python examples/verl_reward.py rows.jsonl           rows with data_source, response, reward_model.ground_truth
"""

import asyncio
import collections
import json
import sys

from codejury.verl import compute_score_async

ROW = {
    "data_source": "apps",
    "response": "```python\nfor _ in range(int(input())):\n    print(int(input()) ** 2)\n```",
    "reward_model": {"ground_truth": json.dumps({"inputs": ["2\n3\n4\n"], "outputs": ["9\n16\n"]})},
}


async def main(paths):
    rows = [ROW] if not paths else [json.loads(line) for path in paths for line in open(path, encoding="utf-8")]
    scores = await asyncio.gather(
        *(compute_score_async(row["data_source"], row["response"], row["reward_model"]["ground_truth"]) for row in rows)
    )
    print("mean score", sum(score["score"] for score in scores) / len(scores))
    print(dict(collections.Counter(score["error_type"] for score in scores)))


asyncio.run(main(sys.argv[1:]))
