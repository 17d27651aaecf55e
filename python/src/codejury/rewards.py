"""What the trainers' plug-ins share: a model's answer and its ground truth in, a score out.

The rules are the same for every trainer:

- ``reward="accepted"`` (the default) is 1.0 for a submission that passes every test case and 0.0 for any
  other; ``reward="pass_ratio"`` is the share of test cases passed.
- A submission that does not compile, runs into a limit or is no code at all has a score of 0.0: that is a
  verdict.
- A failure of ours (``api_error``, a server that cannot be reached) is no verdict and has no score. It
  raises; plug-ins of trainers that know a missing reward give ``None`` for a sandbox that failed.
"""

from typing import Any, Dict, Mapping, Optional, Sequence, Union

from .errors import RequestRejected
from .judge import Judge, default_judge
from .problem import problem_from
from .verdict import Verdict

__all__ = ["REWARDS", "compare_for", "score_of"]

REWARDS = ("accepted", "pass_ratio")

#: How outputs of well-known training sets are compared where neither row nor caller says so; the same
#: as evaluation does. Everything else: ``tokens``.
_COMPARE = {"codecontests": "codecontests", "code_contests": "codecontests", "deepmind/code_contests": "codecontests"}


def score_of(verdict: Verdict, reward: str = "accepted") -> float:
    """The score of a verdict. Raises ``ValueError`` for one that has none."""
    check_reward(reward)
    if verdict.failed_by_us or verdict.pass_ratio is None:
        raise ValueError(f"an api_error has no score: {verdict!r}")
    return float(verdict.accepted) if reward == "accepted" else verdict.pass_ratio


def check_reward(reward: str) -> None:
    if reward not in REWARDS:
        raise ValueError(f'reward is one of {", ".join(REWARDS)}, not {reward!r}')


def compare_for(data_source: Optional[str]) -> Optional[str]:
    """The comparison that goes with a data source, where its rows do not name one."""
    name = (data_source or "").lower()
    for suffix in ("", "_train", "_valid", "_valid_big", "_test"):
        if name.endswith(suffix):
            found = _COMPARE.get(name[: len(name) - len(suffix)])
            if found:
                return found
    return None


def problem_for(
    ground_truth: Any, data_source: Optional[str] = None, problem_id: Optional[str] = None, compare: Optional[str] = None
) -> Dict[str, Any]:
    """The problem row of a training row, its comparison settled. ``compare`` wins over the row."""
    row = problem_from(ground_truth, problem_id=problem_id, dataset=data_source)
    chosen = compare or row.get("compare") or (compare_for(data_source) if row["kind"] == "stdio" else None)
    if chosen:
        row["compare"] = chosen
    return row


def judge_for(url: Optional[str]) -> Judge:
    """The process's judge, or the one for ``url``, made once and kept."""
    if url is None:
        return default_judge()
    judge = _by_url.get(url)
    if judge is None:
        judge = _by_url[url] = Judge(url)
    return judge


_by_url: Dict[str, Judge] = {}


def text_of(completion: Any) -> str:
    """The text of a completion: a string, or the last message of a conversation."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, Mapping):
        content = completion.get("content")
        if content is None:
            return ""
        if isinstance(content, str):
            return content
        return "".join(part.get("text") or "" for part in content if isinstance(part, Mapping))
    if isinstance(completion, Sequence) and not isinstance(completion, (bytes, bytearray)):
        return text_of(completion[-1]) if completion else ""
    raise RequestRejected(f"a completion is a text or a list of messages, not a {type(completion).__name__}")


Score = Union[float, Dict[str, Any]]
