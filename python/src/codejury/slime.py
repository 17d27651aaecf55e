"""slime: a reward function for ``--custom-rm-path``.

::

    --custom-rm-path codejury.slime.reward_func

The sample's label is a native problem row or verl's JSON (as an object or a string). slime's ``remote_rm``
works too: ``--rm-type remote_rm --rm-url http://HOST:PORT/slime`` with ``python -m codejury.reward_server``.
"""

from typing import Any, List, Sequence, Union

from .rewards import judge_for, problem_for, score_of

__all__ = ["reward_func"]


async def reward_func(args: Any, sample: Any, **_: Any) -> Union[float, List[float]]:
    """The reward of a sample, or those of a list of samples (slime's batched form).

    1.0 if the response passes every test case, else 0.0. ``args.codejury_reward = "pass_ratio"`` and
    ``args.codejury_url`` are heeded where the command line defines them. Raises a
    :class:`~codejury.CodejuryError` if there is no verdict.
    """
    reward = getattr(args, "codejury_reward", None) or "accepted"
    judge = judge_for(getattr(args, "codejury_url", None))
    samples: Sequence[Any] = sample if isinstance(sample, (list, tuple)) else [sample]
    pairs = [(problem_for(one.label), one.response) for one in samples]
    scores = [score_of(verdict, reward) for verdict in await judge.ajudge_batch(pairs)]
    return scores if isinstance(sample, (list, tuple)) else scores[0]
