"""TRL: reward functions for ``GRPOTrainer`` and its relatives.

::

    from trl import GRPOTrainer
    from codejury.trl import reward_func

    GRPOTrainer(model=…, reward_funcs=reward_func, train_dataset=…)

The dataset has a column ``problem`` (or ``ground_truth``) with a native problem row or verl's JSON, best as
JSON in a string: a table with one schema for all rows would fill dictionaries with nulls.
:func:`make_reward_func` names another column, or another reward.
"""

from typing import Any, Callable, List, Mapping, Optional, Sequence, Tuple

from .errors import RequestRejected
from .rewards import check_reward, judge_for, problem_for, score_of, text_of
from .verdict import Verdict

__all__ = ["areward_func", "make_reward_func", "reward_func"]

#: Where the problem is looked for, if no column is named.
COLUMNS = ("problem", "ground_truth", "reward_model", "test_cases")

RewardFunc = Callable[..., Any]


def make_reward_func(
    *,
    column: Optional[str] = None,
    reward: str = "accepted",
    compare: Optional[str] = None,
    limits: Optional[Mapping[str, Any]] = None,
    url: Optional[str] = None,
    asynchronous: bool = False,
    name: Optional[str] = None,
) -> RewardFunc:
    """A reward function with its own settings; ``name`` is what TRL logs it under.

    A response that could not be judged because the sandbox failed gets ``None``, which TRL leaves out.
    If the server cannot be asked at all, a :class:`~codejury.CodejuryError` ends the step.
    """
    check_reward(reward)

    def pairs_of(completions: Sequence[Any], columns: Mapping[str, Any]) -> List[Tuple[Any, str]]:
        if not completions:
            return []
        truths = _truths(columns, column, len(completions))
        sources = columns.get("data_source") or [None] * len(completions)
        # The completions of one prompt share their problem, which is then written and sent once.
        problems: List[Any] = []
        for index, (truth, source) in enumerate(zip(truths, sources)):
            same = index > 0 and truth == truths[index - 1] and source == sources[index - 1]
            problems.append(problems[-1] if same else problem_for(truth, source, None, compare))
        return list(zip(problems, map(text_of, completions)))

    def scores_of(verdicts: Sequence[Optional[Verdict]], columns: Mapping[str, Any]) -> List[Optional[float]]:
        log_extra = columns.get("log_extra")
        if callable(log_extra):
            log_extra("error_type", [verdict.error_type if verdict else "api_error" for verdict in verdicts])
        return [score_of(verdict, reward) if verdict else None for verdict in verdicts]

    def reward_func(prompts: Any = None, completions: Sequence[Any] = (), **columns: Any) -> List[Optional[float]]:
        pairs = pairs_of(completions, columns)
        return scores_of(judge_for(url).judge_batch(pairs, on_failure="none", limits=limits), columns)

    async def areward_func(
        prompts: Any = None, completions: Sequence[Any] = (), **columns: Any
    ) -> List[Optional[float]]:
        pairs = pairs_of(completions, columns)
        return scores_of(await judge_for(url).ajudge_batch(pairs, on_failure="none", limits=limits), columns)

    chosen: RewardFunc = areward_func if asynchronous else reward_func
    chosen.__name__ = name or f"codejury_{reward}"
    return chosen


def _truths(columns: Mapping[str, Any], column: Optional[str], n: int) -> Sequence[Any]:
    names = (column,) if column else COLUMNS
    for name in names:
        values = columns.get(name)
        if isinstance(values, Sequence) and len(values) == n:
            return [value["ground_truth"] if _is_reward_model(value) else value for value in values]
    raise RequestRejected(
        f"no column {' or '.join(map(repr, names))} with a problem for each completion; the dataset gives {sorted(columns)}"
    )


def _is_reward_model(value: Any) -> bool:
    return isinstance(value, Mapping) and "ground_truth" in value


#: 1.0 for each completion that passes every test case of its problem, 0.0 for others, ``None`` if we failed.
reward_func = make_reward_func(name="codejury")
#: The async twin of :func:`reward_func`.
areward_func = make_reward_func(name="codejury", asynchronous=True)
