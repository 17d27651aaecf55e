"""What the blocking and the async client share: batches cut into requests, answers put back in order.

A batch becomes *chunks*, each one `POST /v1/judge`. A chunk knows which of its submissions have no verdict
yet; when a connection breaks, only those are sent again. That is safe because judging has no effect: the
same submission gets the same verdict, and the server remembers it.
"""

import json
import random
import time
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union

from .errors import CodejuryError, RequestRejected, ServerBusy, ServerUnavailable
from .verdict import Verdict

Problem = Mapping[str, Any]
#: A model's text, or a completion row: ``{"completion": …}`` or ``{"source": …}``.
Completion = Union[str, Mapping[str, Any]]

#: Submissions in one request.
MAX_CHUNK = 128
#: Bytes of one request, unless a single submission is larger.
MAX_CHUNK_BYTES = 8 * 1024 * 1024

#: Answers that say "later": the queue is full, or the server is on its way up or down.
_BUSY = {429, 503, 504}
_TOO_LARGE = 413


@dataclass
class Item:
    """One submission on its way."""

    #: Its place in the caller's batch.
    index: int
    problem_id: str
    problem_row: str
    sample: int
    completion_row: str

    def size(self) -> int:
        return len(self.problem_row) + len(self.completion_row)


@dataclass
class Chunk:
    """One request: its submissions that have no verdict yet."""

    options: str
    pending: Dict[Tuple[str, int], Item] = field(default_factory=dict)
    problems: Dict[str, str] = field(default_factory=dict)
    size: int = 0
    done: bool = False

    def fits(self, item: Item) -> bool:
        known = self.problems.get(item.problem_id)
        if known is not None and known != item.problem_row:
            return False  # another problem of the same name; it travels in another request
        growth = len(item.completion_row) + (0 if known is not None else len(item.problem_row))
        return not self.pending or (len(self.pending) < MAX_CHUNK and self.size + growth <= MAX_CHUNK_BYTES)

    def add(self, item: Item) -> None:
        if item.problem_id not in self.problems:
            self.problems[item.problem_id] = item.problem_row
            self.size += len(item.problem_row)
        self.size += len(item.completion_row)
        self.pending[item.problem_id, item.sample] = item

    def body(self) -> bytes:
        self.done = False
        needed = {problem_id for problem_id, _ in self.pending}
        problems = ",".join(row for problem_id, row in self.problems.items() if problem_id in needed)
        completions = ",".join(item.completion_row for item in self.pending.values())
        return f'{{"problems":[{problems}],"completions":[{completions}],"options":{self.options}}}'.encode()

    def take(self, line: bytes) -> Optional[Tuple[int, Verdict]]:
        """Reads one line of the answer: a verdict with its place in the batch, or None for the last line."""
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConnectionError(f"the answer holds a line that is no JSON: {error}") from None
        if row.get("done") is True:
            self.done = True
            return None
        if "schema" not in row:
            raise ConnectionError(f"the server broke off: {row.get('error') or row}")
        verdict = Verdict.from_row(row)
        item = self.pending.pop((verdict.problem_id, verdict.sample), None)
        if item is None:
            raise ConnectionError(f"a verdict for something not asked: {verdict.problem_id!r}, sample {verdict.sample}")
        return item.index, verdict

    def check_complete(self) -> None:
        """Called at the end of an answer. Raises ``ConnectionError`` if verdicts are missing."""
        if not self.done or self.pending:
            raise ConnectionError(f"the answer ended with {len(self.pending)} verdicts missing")

    def halves(self) -> "List[Chunk]":
        """Two smaller requests in place of one that was too large."""
        items = list(self.pending.values())
        halves = []
        for part in (items[: len(items) // 2], items[len(items) // 2 :]):
            half = Chunk(self.options)
            for item in part:
                half.add(item)
            halves.append(half)
        return halves


def items(
    pairs: Iterable[Tuple[Problem, Completion]],
    *,
    compare: Optional[str],
    limits: Optional[Mapping[str, Any]],
) -> Iterator[Item]:
    """The submissions of a batch, written as rows. Reads ``pairs`` as it goes."""
    rows: Dict[int, Tuple[Problem, str, str]] = {}
    samples: Dict[str, int] = {}
    for index, (problem, completion) in enumerate(pairs):
        known = rows.get(id(problem))
        if known is None:
            problem_id, row = _problem_row(problem, compare, limits)
            # Keeps the problem alive, so that no other can get its id().
            known = rows[id(problem)] = (problem, problem_id, row)
            if len(rows) > 4 * MAX_CHUNK:
                rows = {id(problem): known}
        _, problem_id, row = known
        sample = samples.get(problem_id, 0)
        samples[problem_id] = sample + 1
        yield Item(index, problem_id, row, sample, _completion_row(problem_id, sample, completion, index))


def chunks(batch: Iterable[Item], options: Mapping[str, Any]) -> Iterator[Chunk]:
    """Cuts a batch into requests."""
    written = _json(dict(options), "options")
    chunk = Chunk(written)
    for item in batch:
        if not chunk.fits(item):
            yield chunk
            chunk = Chunk(written)
        chunk.add(item)
    if chunk.pending:
        yield chunk


def _problem_row(problem: Problem, compare: Optional[str], limits: Optional[Mapping[str, Any]]) -> Tuple[str, str]:
    if not isinstance(problem, Mapping):
        raise TypeError(f"a problem is a native row, a mapping with `kind` and so on, not a {type(problem).__name__}")
    row = dict(problem)
    if "kind" not in row:
        raise RequestRejected("a problem has no `kind`; codejury.problem_from reads verl's `inputs` and `outputs`")
    if "problem_id" not in row:
        from .problem import problem_from

        row = problem_from(row)
    if not isinstance(row["problem_id"], str):
        row["problem_id"] = str(row["problem_id"])
    row.pop("reference", None)  # nobody judges by it, and it can be long
    if compare is not None:
        row["compare"] = compare
    if limits:
        row["limits"] = {**(row.get("limits") or {}), **limits}
    return row["problem_id"], _json(row, f"problem {row['problem_id']!r}")


def _completion_row(problem_id: str, sample: int, completion: Completion, index: int) -> str:
    row: Dict[str, Any] = {"problem_id": problem_id, "sample": sample}
    if isinstance(completion, str):
        row["completion"] = completion
    elif isinstance(completion, Mapping):
        given = {key: value for key, value in completion.items() if key not in ("problem_id", "task_id", "sample")}
        if len({"completion", "source", "source_b64"} & given.keys()) != 1:
            raise RequestRejected(f"completion {index} needs exactly one of `completion`, `source`, `source_b64`")
        row.update(given)
    else:
        raise TypeError(f"completion {index} is a text or a mapping with one, not a {type(completion).__name__}")
    return _json(row, f"completion {index}")


def _json(value: Any, name: str) -> str:
    try:
        # ASCII: a lone surrogate in a model's text then travels as an escape, and is judged.
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise RequestRejected(f"{name} cannot be written as JSON: {error}") from None


class Patience:
    """Decides how long a call goes on trying. Any verdict that arrives starts the clocks again."""

    def __init__(self, unreachable_s: float, busy_s: float, where: str) -> None:
        self._unreachable_s = unreachable_s
        self._busy_s = busy_s
        self._where = where
        self.progress()

    def progress(self) -> None:
        self._since = time.monotonic()
        self._delay_s = 0.05

    def after_break(self, error: BaseException) -> float:
        """Seconds to wait after a connection failed. Raises when patience is at its end."""
        if time.monotonic() - self._since > self._unreachable_s:
            raise ServerUnavailable(
                f"no answer from {self._where} for {self._unreachable_s:g} s: {error or type(error).__name__}"
            ) from error
        return self._next(2.0)

    def after_busy(self, status: int, retry_after: Optional[str]) -> float:
        """Seconds to wait after the server said "later". Raises when patience is at its end."""
        if time.monotonic() - self._since > self._busy_s:
            raise ServerBusy(f"{self._where} has answered {status} for {self._busy_s:g} s: its queue stays full")
        wait = self._next(5.0)
        try:
            wait = max(wait, min(float(retry_after or 0), 30.0) * (1 + random.random() / 4))
        except ValueError:
            pass  # a date: our own pace will do
        return wait

    def _next(self, most: float) -> float:
        delay, self._delay_s = self._delay_s, min(self._delay_s * 2, most)
        # Spread out: the clients of a server that comes back do not all return at once.
        return delay * (0.5 + random.random())


def busy(status: int) -> bool:
    return status in _BUSY


def too_large(status: int) -> bool:
    return status == _TOO_LARGE


def refusal(status: int, body: bytes, where: str) -> CodejuryError:
    """What an answer other than 200 and "later" means."""
    text = body.decode("utf-8", "replace").strip()
    try:
        row = json.loads(text)
        detail = row.get("detail", row.get("error", text)) if isinstance(row, dict) else text
    except ValueError:
        detail = text
    if isinstance(detail, dict):
        detail = detail.get("message", detail)
    if not isinstance(detail, str):
        detail = json.dumps(detail)
    detail = detail[:2000] or "no reason given"
    if status == 401 or status == 403:
        return RequestRejected(f"{where} wants another bearer token (HTTP {status}): {detail}", status)
    if status == 404:
        hint = "a url ends with its host and port, or with the path that a proxy puts before all of codejury's"
        return RequestRejected(f"{where} is not codejury's address (HTTP 404): {detail}; {hint}", status)
    if 400 <= status < 500:
        return RequestRejected(f"{where} refuses the request (HTTP {status}): {detail}", status)
    return ServerUnavailable(f"{where} failed (HTTP {status}): {detail}")
