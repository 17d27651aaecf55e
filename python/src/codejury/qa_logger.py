"""Keeps a readable sample of answers: prompt, response and verdict, some of each error type.

::

    from codejury.qa_logger import QALogger

    qa = QALogger("outputs/eval_step_500/qa_logs", sample_size=30, min_per_error_type=5)
    qa.log(dataset="humaneval", problem_id="HumanEval/0", prompt=…, response=…, eval_result=…,
           gen_metadata={"gen_time": 1.2, "completion_tokens": 350, "finish_reason": "stop"})
    qa.save()

The sample is a function of the problem ids alone, not of chance or order, and the one that ``codejury eval``
takes: the same problems are kept for each checkpoint as far as their error types allow, so that answers can
be compared side by side. What failed for reasons of ours is left out.
"""

import hashlib
import json
import os
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Union

from .eval_config import QA_SAMPLING
from .metrics import EvalResult
from .verdict import ERROR_TYPES

__all__ = ["QALogEntry", "QALogger", "load_qa_logs"]

#: The version of a line.
SCHEMA = "codejury.qa/1"
#: Error types that get a share of their own; what we failed to judge says nothing of the model.
_TYPES = tuple(kind for kind in ERROR_TYPES if kind != "api_error")


@dataclass
class QALogEntry:
    """One line of ``<dataset>_qa.jsonl``."""

    dataset: str
    problem_id: str
    prompt: Any
    #: The model's raw text.
    response: str
    accepted: bool
    pass_ratio: Optional[float]
    error_type: str
    #: Seconds.
    judge_time: float
    #: Seconds; ``None`` if unknown.
    gen_time: Optional[float]
    gen_tokens: Optional[int]
    #: ``step``, ``checkpoint``, ``model``, …; ``sampled_as`` says why this one was kept.
    extra: Dict[str, Any] = field(default_factory=dict)


class QALogger:
    """Collects all answers, writes a stratified sample.

    ``sample_size`` answers a dataset are kept, at least ``min_per_error_type`` of each error type where
    there are so many; without them the dataset's own figures hold (:data:`codejury.eval_config.QA_SAMPLING`).
    ``extra`` goes into every record: ``step``, ``checkpoint``, ``model``.
    """

    def __init__(
        self,
        output_dir: Union[str, "os.PathLike[str]"],
        sample_size: Optional[int] = None,
        min_per_error_type: Optional[int] = None,
        extra: Optional[Mapping[str, Any]] = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.sample_size = sample_size
        self.min_per_error_type = min_per_error_type
        self._extra = dict(extra or {})
        self._entries: Dict[str, List[QALogEntry]] = {}

    def log(
        self,
        dataset: str,
        problem_id: str,
        prompt: Any,
        response: str,
        eval_result: EvalResult,
        gen_metadata: Optional[Mapping[str, Any]] = None,
        extra: Optional[Mapping[str, Any]] = None,
    ) -> None:
        """Adds one answer. ``gen_metadata`` may have ``gen_time``, ``completion_tokens`` and anything else."""
        metadata = dict(gen_metadata or {})
        known = {**self._extra, **metadata, **(extra or {})}
        if eval_result.error_subtype is not None:
            known.setdefault("error_subtype", eval_result.error_subtype)
        gen_time = known.pop("gen_time", eval_result.gen_time)
        gen_tokens = known.pop("completion_tokens", eval_result.gen_tokens)
        self._entries.setdefault(dataset, []).append(
            QALogEntry(
                dataset=dataset,
                problem_id=problem_id,
                prompt=prompt,
                response=response,
                accepted=eval_result.accepted,
                pass_ratio=eval_result.pass_ratio,
                error_type=eval_result.error_type,
                judge_time=eval_result.judge_time,
                gen_time=gen_time,
                gen_tokens=gen_tokens,
                extra=known,
            )
        )

    def sample(self, dataset: str) -> List[QALogEntry]:
        """The answers that :meth:`save` keeps of a dataset."""
        table = QA_SAMPLING.get(dataset, {"sample_size": 50, "min_per_error_type": 5})
        size = table["sample_size"] if self.sample_size is None else self.sample_size
        share = table["min_per_error_type"] if self.min_per_error_type is None else self.min_per_error_type
        numbers: Counter[str] = Counter()
        order = []
        for place, entry in enumerate(self._entries.get(dataset, [])):
            order.append((_hash(entry.problem_id), numbers[entry.problem_id], place, entry))
            numbers[entry.problem_id] += 1
        order.sort(key=lambda ranked: ranked[:3])
        ranked = [entry for *_, entry in order if entry.error_type in _TYPES]
        why: Dict[int, str] = {}
        counts: Counter[str] = Counter()
        for rank, entry in enumerate(ranked):
            if counts[entry.error_type] < share and len(why) < size:
                counts[entry.error_type] += 1
                why[rank] = entry.error_type
        for rank in range(len(ranked)):
            if len(why) < size:
                why.setdefault(rank, "random")
        return [replace(ranked[rank], extra={**ranked[rank].extra, "sampled_as": why[rank]}) for rank in sorted(why)]

    def save(self) -> None:
        """Writes ``<dataset>_qa.jsonl`` for each dataset, and ``qa_summary.json``; each all or nothing."""
        self.output_dir.mkdir(parents=True, exist_ok=True)
        sampled = {}
        for dataset in self._entries:
            kept = self.sample(dataset)
            sampled[dataset] = len(kept)
            rows = ({"schema": SCHEMA, **asdict(entry)} for entry in kept)
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            _write(self.output_dir / f"{dataset}_qa.jsonl", lines)
        statistics = self.get_statistics()
        summary = {
            "total_logged": statistics["total_logged"],
            "sampled": sampled,
            "error_distribution": statistics["by_error_type"],
        }
        _write(self.output_dir / "qa_summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")

    def get_statistics(self) -> Dict[str, Any]:
        """``{"total_logged": {dataset: n}, "by_error_type": {dataset: {error_type: n}}}``."""
        return {
            "total_logged": {dataset: len(entries) for dataset, entries in self._entries.items()},
            "by_error_type": {
                dataset: dict(sorted(Counter(entry.error_type for entry in entries).items()))
                for dataset, entries in self._entries.items()
            },
        }


def load_qa_logs(file_path: Union[str, "os.PathLike[str]"]) -> List[QALogEntry]:
    """Reads a ``<dataset>_qa.jsonl`` back."""
    names = set(QALogEntry.__dataclass_fields__)
    with open(file_path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    return [QALogEntry(**{key: value for key, value in row.items() if key in names}) for row in rows]


def _hash(problem_id: str) -> str:
    """The rank of a problem, the same as `codejury eval` gives it."""
    return hashlib.sha256(f"codejury:qa:{problem_id}".encode("utf-8", "surrogatepass")).hexdigest()


def _write(path: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        # A lone surrogate in a model's text must not lose the file.
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
