"""From verdicts to numbers: the collector that evaluation scripts use.

::

    from codejury.metrics import EvalResult, MetricsCollector

    collector = MetricsCollector()
    collector.add_result("humaneval", EvalResult.from_verdict(verdict, gen_tokens=212))
    collector.set_wall_clock_time("humaneval", 93.5)
    collector.get_summary()["datasets"]["humaneval"]["exec_success_rate"]

The figures are those of ``codejury judge`` for the same verdicts, to the last bit. What is not known is
``None``, never 0: tokens of a replay, pass ratios of submissions that we failed to judge.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from .stats import Bootstrap, mean, pass_at_k, quantile, wilson95
from .verdict import ERROR_TYPES, Verdict

__all__ = ["EvalResult", "MetricsCollector", "is_executable"]


def is_executable(error_type: str) -> bool:
    """Whether a program with this error type ran to its end."""
    return error_type in ("success", "wrong_answer")


@dataclass
class EvalResult:
    """What evaluation keeps of one submission."""

    problem_id: str
    #: Whether every test case passed.
    accepted: bool
    #: Passed test cases / all test cases; ``None`` if we failed on one of them.
    pass_ratio: Optional[float]
    #: One of :data:`codejury.verdict.ERROR_TYPES`.
    error_type: str
    #: Seconds.
    judge_time: float
    #: Tokens generated; ``None`` if unknown.
    gen_tokens: Optional[int] = None
    #: Seconds; ``None`` if unknown.
    gen_time: Optional[float] = None
    details: Dict[str, Any] = field(default_factory=dict)
    error_subtype: Optional[str] = None
    #: Whether generation stopped at its token limit; ``None`` if unknown.
    truncated: Optional[bool] = None
    integrity: Optional[str] = None
    isolation: Optional[str] = None
    sample: Optional[int] = None
    #: For problems about output: whether every executed test case printed nothing; else ``None``.
    no_output: Optional[bool] = None

    def __post_init__(self) -> None:
        if self.error_type not in ERROR_TYPES:
            raise ValueError(f"unknown error type {self.error_type!r}; known: {', '.join(ERROR_TYPES)}")

    @classmethod
    def from_verdict(
        cls,
        verdict: Verdict,
        *,
        gen_tokens: Optional[int] = None,
        gen_time: Optional[float] = None,
        truncated: Optional[bool] = None,
    ) -> "EvalResult":
        no_output = None
        if verdict.kind in ("stdio", "checker"):
            no_output = bool((verdict.evidence or {}).get("no_output"))
        return cls(
            problem_id=verdict.problem_id,
            accepted=verdict.accepted,
            pass_ratio=verdict.pass_ratio,
            error_type=verdict.error_type,
            judge_time=verdict.judge_time,
            gen_tokens=gen_tokens,
            gen_time=gen_time,
            error_subtype=verdict.error_subtype,
            truncated=truncated,
            integrity=verdict.integrity,
            isolation=verdict.isolation,
            sample=verdict.sample,
            no_output=no_output,
        )

    @property
    def judged(self) -> bool:
        """Whether it has a verdict: an ``api_error`` is a failure of ours."""
        return self.error_type != "api_error"


class MetricsCollector:
    """Collects results by dataset, in any order, and computes the summary.

    ``ks`` are the k of pass@k; one that is larger than the number of samples of some problem is ``None``,
    with a note. ``bootstrap`` makes the intervals of means.
    """

    def __init__(self, *, ks: Sequence[int] = (1,), bootstrap: Optional[Bootstrap] = None) -> None:
        self._ks = tuple(ks)
        self._bootstrap = bootstrap or Bootstrap()
        self._results: Dict[str, Dict[str, List[EvalResult]]] = {}
        self._wall_clock_time: Dict[str, float] = {}

    def add_result(self, dataset: str, result: EvalResult) -> None:
        """Adds one submission. Without a ``sample`` of its own it is the problem's next one.

        Raises ``ValueError`` if the problem has a result for this sample already.
        """
        samples = self._results.setdefault(dataset, {}).setdefault(result.problem_id, [])
        if result.sample is not None and any(other.sample == result.sample for other in samples):
            raise ValueError(f"{dataset}: problem {result.problem_id!r} has a result for sample {result.sample} already")
        samples.append(result)

    def set_wall_clock_time(self, dataset: str, wall_clock_time: float) -> None:
        """Says how many seconds the dataset's evaluation took, for ``throughput``."""
        self._wall_clock_time[dataset] = wall_clock_time

    def get_dataset_metrics(self, dataset: str) -> Dict[str, Any]:
        """The numbers of one dataset, as ``summary.json`` holds them."""
        problems = self._sorted(dataset)
        numbers = _Numbers(problems, self._bootstrap)
        wall_clock_time = self._wall_clock_time.get(dataset)
        numbers.all(self._ks, wall_clock_time)
        results = [result for _, samples in problems for result in samples]
        summary: Dict[str, Any] = {
            "n": len(problems),
            "n_judged": sum(any(result.judged for result in samples) for _, samples in problems),
            "n_samples": len(results),
            **dict(sorted(numbers.metrics.items())),
            "ci95": dict(sorted(numbers.ci95.items())),
            "error_distribution": self.get_error_distribution(dataset),
            "wall_clock_time": wall_clock_time,
            "bootstrap": {"seed": self._bootstrap.seed, "resamples": self._bootstrap.resamples},
        }
        if numbers.notes:
            summary["notes"] = numbers.notes
        return summary

    def get_summary(self) -> Dict[str, Any]:
        """``{"datasets": {name: numbers}, "overall": numbers over all problems}``.

        Beside the names of ``summary.json`` each dataset has the totals that older scripts read:
        ``total_problems``, ``total_judge_time``, ``total_gen_tokens``, ``p50_judge_time``,
        ``p95_judge_time``, ``cost_per_solved_tokens`` and ``cost_per_solved_judge_time`` (``None`` where
        nothing is known or solved).
        """
        datasets = {
            name: {"dataset": name, **self.get_dataset_metrics(name), **self._totals(self._all(name))}
            for name in self._results
        }
        everything = [result for name in self._results for result in self._all(name)]
        overall: Dict[str, Any] = {}
        if everything:
            ratios = sorted(r.pass_ratio for r in everything if r.pass_ratio is not None)
            overall = {
                "accepted_at_1": mean([float(result.accepted) for result in everything]),
                "pass_ratio_mean": mean(ratios),
                "pass_ratio_p50": quantile(ratios, 0.5),
                "pass_ratio_p90": quantile(ratios, 0.9),
                **self._totals(everything),
            }
        return {"datasets": datasets, "overall": overall}

    def get_wandb_metrics(self, prefix: str = "eval") -> Dict[str, float]:
        """Flat numbers, ``eval/<dataset>/<metric>``, as ``metrics.json`` has them; unknown ones left out."""
        flat: Dict[str, float] = {}
        for name in self._results:
            for metric, value in self.get_dataset_metrics(name).items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    flat[f"{prefix}/{name}/{metric}"] = value
        return flat

    def get_error_distribution(self, dataset: Optional[str] = None) -> Dict[str, int]:
        """How many submissions have each error type, in one dataset or in all."""
        names = list(self._results) if dataset is None else [dataset]
        counts = Counter(result.error_type for name in names for result in self._all(name))
        return {kind: counts[kind] for kind in sorted(ERROR_TYPES)}

    def _all(self, dataset: str) -> List[EvalResult]:
        return [result for _, samples in self._sorted(dataset) for result in samples]

    def _sorted(self, dataset: str) -> List[Tuple[str, List[EvalResult]]]:
        """Problems by id, samples by number: the order of arrival must not change a bit of a sum."""
        problems = self._results.get(dataset, {})
        return [
            (problem_id, sorted(problems[problem_id], key=lambda r: (r.sample is None, r.sample or 0)))
            for problem_id in sorted(problems)
        ]

    @staticmethod
    def _totals(results: Sequence[EvalResult]) -> Dict[str, Any]:
        times = [result.judge_time for result in results if result.judged]
        tokens = [result.gen_tokens for result in results if result.gen_tokens is not None]
        solved = sum(result.accepted for result in results)
        total_time, total_tokens = sum(times), sum(tokens) if tokens else None
        return {
            "total_problems": len(results),
            "total_judge_time": total_time,
            "p50_judge_time": quantile(sorted(times), 0.5),
            "p95_judge_time": quantile(sorted(times), 0.95),
            "total_gen_tokens": total_tokens,
            "cost_per_solved_tokens": total_tokens / solved if solved and total_tokens is not None else None,
            "cost_per_solved_judge_time": total_time / solved if solved else None,
        }


class _Numbers:
    """The metrics of one dataset while they are computed."""

    def __init__(self, problems: List[Tuple[str, List[EvalResult]]], bootstrap: Bootstrap) -> None:
        self._problems = problems
        self._bootstrap = bootstrap
        self._one_sample_each = max((len(samples) for _, samples in problems), default=0) <= 1
        self.metrics: Dict[str, Optional[float]] = {}
        self.ci95: Dict[str, Optional[List[float]]] = {}
        self.notes: List[str] = []

    def all(self, ks: Sequence[int], wall_clock_time: Optional[float]) -> None:
        self.rate("exec_success_rate", lambda r: is_executable(r.error_type))
        self.rate("accepted_at_1", lambda r: r.accepted)
        self.rate("syntax_error_rate", lambda r: r.error_type == "syntax_error")
        self.rate("runtime_error_rate", lambda r: r.error_type == "runtime_error")
        self.rate("timeout_rate", lambda r: r.error_type == "timeout")
        self.rate("wrong_answer_rate", lambda r: r.error_type == "wrong_answer")
        self.rate("truncation_rate", lambda r: r.truncated)
        self.rate("no_output_rate", lambda r: r.no_output)
        self.share("api_error_rate", lambda r: not r.judged, lambda r: True)
        self.pass_ratios()
        self.average("avg_gen_tokens", lambda r: r.gen_tokens)
        self.average("avg_judge_time", lambda r: r.judge_time)
        known_time = wall_clock_time is not None and wall_clock_time > 0
        self.metrics["throughput"] = len(self._problems) / wall_clock_time if known_time and wall_clock_time else None
        for k in ks:
            self.pass_at(k, f"pass@{k}", lambda r: True)
            self.pass_at(k, f"pass@{k}_judged", lambda r: r.judged)

    def rate(self, name: str, holds: Callable[[EvalResult], Optional[bool]]) -> None:
        """A rate over all problems, and over those that were judged."""
        self.share(name, holds, lambda r: True)
        self.share(f"{name}_judged", holds, lambda r: r.judged)

    def share(
        self, name: str, holds: Callable[[EvalResult], Optional[bool]], counts: Callable[[EvalResult], bool]
    ) -> None:
        """The mean over problems of the share of samples for which something holds, unknown ones left out."""
        means = []
        for _, samples in self._problems:
            known = [hit for hit in (holds(result) for result in samples if counts(result)) if hit is not None]
            if known:
                means.append(sum(known) / len(known))
        self.proportion(name, means)

    def proportion(self, name: str, means: List[float]) -> None:
        self.metrics[name] = mean(means)
        if self._one_sample_each:
            self.ci95[name] = wilson95(sum(value == 1.0 for value in means), len(means))
        else:
            self.ci95[name] = self._bootstrap.mean95(means)

    def problem_means(self, value: Callable[[EvalResult], Optional[float]]) -> List[float]:
        """The mean over the judged samples of each problem that has one."""
        means = []
        for _, samples in self._problems:
            known = [v for v in (value(result) for result in samples if result.judged) if v is not None]
            average = mean(known)
            if average is not None:
                means.append(average)
        return means

    def average(self, name: str, value: Callable[[EvalResult], Optional[float]]) -> None:
        self.metrics[name] = mean(self.problem_means(value))

    def pass_ratios(self) -> None:
        ratios = self.problem_means(lambda r: r.pass_ratio)
        self.metrics["pass_ratio_mean"] = mean(ratios)
        self.ci95["pass_ratio_mean"] = self._bootstrap.mean95(ratios)
        ratios.sort()
        self.metrics["pass_ratio_p50"] = quantile(ratios, 0.5)
        self.metrics["pass_ratio_p90"] = quantile(ratios, 0.9)

    def pass_at(self, k: int, name: str, counts: Callable[[EvalResult], bool]) -> None:
        """pass@k, or ``None`` when a problem has too few samples: leaving it out would estimate something else."""
        estimates: List[float] = []
        too_few: Optional[Tuple[str, int]] = None
        for problem_id, samples in self._problems:
            counted = [result for result in samples if counts(result)]
            estimate = pass_at_k(len(counted), sum(result.accepted for result in counted), k)
            if estimate is not None:
                estimates.append(estimate)
            elif counted and too_few is None:
                too_few = (problem_id, len(counted))
        if too_few:
            self.notes.append(f"{name} is null: problem {too_few[0]} has {too_few[1]} samples")
            self.metrics[name] = self.ci95[name] = None
            return
        self.proportion(name, estimates)
