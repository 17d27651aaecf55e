"""OpenRLHF: a reward function for ``--remote_rm_url``.

OpenRLHF takes either the path of a Python file with a ``reward_func``, such as this one::

    --remote_rm_url $(python -c 'import codejury.openrlhf as m; print(m.__file__)') --label_key problem

or URLs, which ``python -m codejury.reward_server`` serves. Either way the label of a sample is a native
problem row or verl's JSON, as a string.
"""

import re
from typing import Any, Dict, List, Optional, Sequence

# Absolute, because OpenRLHF loads this file by its path.
from codejury.errors import RequestRejected
from codejury.rewards import check_reward, judge_for, problem_for, score_of

__all__ = ["response_of", "reward_func", "score_queries"]

#: What may follow a response: the special tokens that end a turn.
_END_OF_TURN = re.compile(r"(?:\s*(?:<\|[A-Za-z0-9_]+\|>|</s>|<end_of_turn>))+\s*$")


def response_of(query: str, prompt: str) -> str:
    """What the model wrote: the query (prompt and response together) without its prompt and end marks."""
    response = query
    # Decoding may have put a start token in front, or changed blanks at the prompt's ends.
    for known in (prompt, prompt.strip()):
        at = query.find(known) if known else -1
        if at >= 0:
            response = query[at + len(known) :]
            break
    return _END_OF_TURN.sub("", response)


def score_queries(
    queries: Sequence[str],
    prompts: Sequence[str],
    labels: Sequence[Any],
    *,
    reward: str = "accepted",
    url: Optional[str] = None,
) -> Dict[str, Any]:
    """``{"rewards": [float], "scores": [float], "extra_logs": {name: [float]}}``, in the order of the queries.

    ``scores`` is always in 0..1, as OpenRLHF's dynamic filtering wants it. Raises a
    :class:`~codejury.CodejuryError` if there is no verdict for one of them.
    """
    check_reward(reward)
    if not len(queries) == len(prompts) == len(labels):
        raise RequestRejected(f"{len(queries)} queries, {len(prompts)} prompts and {len(labels)} labels do not match")
    pairs = [
        (problem_for(label), response_of(query, prompt)) for query, prompt, label in zip(queries, prompts, labels)
    ]
    verdicts = judge_for(url).judge_batch(pairs)
    rewards: List[float] = [score_of(verdict, reward) for verdict in verdicts]
    logs = {
        "accepted": [float(verdict.accepted) for verdict in verdicts],
        "pass_ratio": [score_of(verdict, "pass_ratio") for verdict in verdicts],
    }
    return {"rewards": rewards, "scores": list(rewards), "extra_logs": logs}


def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **_: Any) -> Dict[str, Any]:
    """What OpenRLHF calls: like :func:`score_queries`, with tensors."""
    import torch

    result = score_queries(queries, prompts, labels)
    return {
        "rewards": torch.tensor(result["rewards"]),
        "scores": torch.tensor(result["scores"]),
        "extra_logs": {name: torch.tensor(values) for name, values in result["extra_logs"].items()},
    }
