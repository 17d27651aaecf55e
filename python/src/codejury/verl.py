"""verl: ``compute_score`` for its ``custom_reward_function`` hook.

::

    reward.custom_reward_function.path=pkg://codejury.verl
    reward.custom_reward_function.name=compute_score
    +reward.custom_reward_function.reward_kwargs.reward=pass_ratio      # optional

(In verl up to 0.6 the keys begin with ``custom_reward_function``, and ``path`` is that of a file:
``python -c 'import codejury.verl; print(codejury.verl.__file__)'``.)

The ground truth is verl's JSON, ``{"inputs", "outputs", "fn_name"}``, or a native problem row. With
``compute_score_async`` verl needs no thread for a sample that waits. ``codejury.verl_reward_manager`` has
reward managers that need no custom function at all.

verl turns exceptions of some of its own managers into a reward of 0; ours do not. With verl's
``naive`` manager an error of ours ends the step, which is meant: a broken sandbox must not teach anything.
"""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

# Absolute, because verl loads this file by its path when `custom_reward_function.path` is one, and a
# module that is loaded so has no package to be relative to.
from codejury.errors import RequestRejected
from codejury.rewards import check_reward, judge_for, problem_for, score_of
from codejury.verdict import Verdict

__all__ = ["compute_score", "compute_score_async", "compute_score_batch"]

Score = Union[float, Dict[str, Any]]


def compute_score(
    data_source: Optional[str],
    solution_str: str,
    ground_truth: Any,
    extra_info: Optional[Mapping[str, Any]] = None,
    *,
    reward: str = "accepted",
    as_float: bool = False,
    compare: Optional[str] = None,
    limits: Optional[Mapping[str, Any]] = None,
    url: Optional[str] = None,
    options: Optional[Mapping[str, Any]] = None,
    **_: Any,
) -> Score:
    """The score of one response: ``{"score", "acc", "pass_ratio", "error_type"}``, or a float.

    ``score`` is 1.0 if every test case passes and else 0.0; with ``reward="pass_ratio"`` the share of
    test cases passed. ``acc`` is always the former. ``compare`` and ``limits`` win over the row's;
    ``url`` names a server (default: :func:`codejury.default_judge`'s), ``options`` more options of
    ``/v1/judge``. Rows of ``codejury handoff export`` say in ``extra_info["extract"]`` how the evaluation found
    the program in a text. Raises a :class:`~codejury.CodejuryError` if there is no verdict.
    """
    check_reward(reward)
    problem = _problem(data_source, ground_truth, extra_info, compare)
    verdict = judge_for(url).judge(problem, _text(solution_str), limits=limits, **_options(options, extra_info))
    return _score(verdict, reward, as_float)


async def compute_score_async(
    data_source: Optional[str],
    solution_str: str,
    ground_truth: Any,
    extra_info: Optional[Mapping[str, Any]] = None,
    *,
    reward: str = "accepted",
    as_float: bool = False,
    compare: Optional[str] = None,
    limits: Optional[Mapping[str, Any]] = None,
    url: Optional[str] = None,
    options: Optional[Mapping[str, Any]] = None,
    **_: Any,
) -> Score:
    """The async twin of :func:`compute_score`. Cancelling it ends the run."""
    check_reward(reward)
    problem = _problem(data_source, ground_truth, extra_info, compare)
    judge = judge_for(url)
    verdict = await judge.ajudge(problem, _text(solution_str), limits=limits, **_options(options, extra_info))
    return _score(verdict, reward, as_float)


def compute_score_batch(
    data_sources: Sequence[Optional[str]],
    solution_strs: Sequence[str],
    ground_truths: Sequence[Any],
    extra_infos: Optional[Sequence[Optional[Mapping[str, Any]]]] = None,
    *,
    reward: str = "accepted",
    as_float: bool = False,
    compare: Optional[str] = None,
    limits: Optional[Mapping[str, Any]] = None,
    url: Optional[str] = None,
    options: Optional[Mapping[str, Any]] = None,
    **_: Any,
) -> List[Score]:
    """The scores of a batch, for verl's ``batch`` reward manager: one request for many responses.

    Responses in which programs are found in different ways travel apart.
    """
    check_reward(reward)
    infos = extra_infos if extra_infos is not None else [None] * len(solution_strs)
    lengths = [len(column) for column in (data_sources, solution_strs, ground_truths, infos)]
    if len(set(lengths)) != 1:
        raise RequestRejected(
            "data_sources, solution_strs, ground_truths and extra_infos of a batch are of one length, "
            f"not of {', '.join(map(str, lengths))}"
        )
    pairs = [
        (_problem(source, truth, info, compare), _text(text))
        for source, text, truth, info in zip(data_sources, solution_strs, ground_truths, infos)
    ]
    groups: Dict[Any, List[int]] = {}
    for index, info in enumerate(infos):
        groups.setdefault(_options(options, info).get("extract"), []).append(index)
    verdicts: Dict[int, Verdict] = {}
    for indices in groups.values():
        chosen = _options(options, infos[indices[0]])
        judged = judge_for(url).judge_batch([pairs[index] for index in indices], limits=limits, **chosen)
        verdicts.update(zip(indices, judged))
    return [_score(verdicts[index], reward, as_float) for index in range(len(pairs))]


def _problem(
    data_source: Optional[str], ground_truth: Any, extra_info: Optional[Mapping[str, Any]], compare: Optional[str]
) -> Dict[str, Any]:
    problem_id = (extra_info or {}).get("problem_id")
    return problem_for(ground_truth, data_source, None if problem_id is None else str(problem_id), compare)


def _options(options: Optional[Mapping[str, Any]], extra_info: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    """The options of a request; a caller's ``extract`` wins over the row's."""
    extract = (extra_info or {}).get("extract")
    return {**({} if extract is None else {"extract": str(extract)}), **(options or {})}


def _text(solution_str: Any) -> str:
    if not isinstance(solution_str, str):
        raise RequestRejected(f"a response (solution_str) is a text, not a {type(solution_str).__name__}")
    return solution_str


def _score(verdict: Verdict, reward: str, as_float: bool) -> Score:
    score = score_of(verdict, reward)
    if as_float:
        return score
    return {
        "score": score,
        "acc": float(verdict.accepted),
        "pass_ratio": verdict.pass_ratio,
        "error_type": verdict.error_type,
    }
