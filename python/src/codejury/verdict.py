"""Typed results: what the server answers, as objects that a notebook shows well.

Everything a program printed is untrusted. It is escaped wherever it is shown: HTML in notebooks,
terminal escapes in ``repr``.
"""

import base64
import html
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple

__all__ = ["ERROR_TYPES", "CommandResult", "RunResult", "TestVerdict", "Usage", "Verdict"]

#: The six words that say how a submission ended, as metrics and rows spell them.
ERROR_TYPES: Tuple[str, ...] = (
    "success",
    "wrong_answer",
    "syntax_error",
    "runtime_error",
    "timeout",
    "api_error",
)


@dataclass(frozen=True)
class Usage:
    """What runs used. Measured, so it differs from run to run."""

    #: From program start, in milliseconds.
    wall_time_ms: float = 0.0
    #: User and system, in milliseconds.
    cpu_time_ms: float = 0.0
    #: Preparation, never charged to the program, in milliseconds.
    setup_time_ms: float = 0.0
    memory_peak_bytes: int = 0

    @classmethod
    def from_row(cls, row: Optional[Mapping[str, Any]]) -> "Optional[Usage]":
        if row is None:
            return None
        return cls(
            wall_time_ms=row.get("wall_time_ms", 0.0),
            cpu_time_ms=row.get("cpu_time_ms", 0.0),
            setup_time_ms=row.get("setup_time_ms", 0.0),
            memory_peak_bytes=row.get("memory_peak_bytes", 0),
        )


@dataclass(frozen=True)
class TestVerdict:
    """One test case of a verdict."""

    __test__ = False  # the name begins with Test, but pytest is not meant

    #: Its place in dataset order, from 0.
    index: int
    #: One of :data:`ERROR_TYPES`, or ``skipped``.
    error_type: str
    error_subtype: Optional[str] = None
    #: Where a wrong output first differs: ``line``, ``column``, ``expected``, ``actual``.
    first_difference: Optional[Mapping[str, Any]] = None
    usage: Optional[Usage] = field(default=None, compare=False)

    @property
    def passed(self) -> bool:
        return self.error_type == "success"


@dataclass(frozen=True)
class Verdict:
    """Everything decided about one submission.

    Two verdicts are equal when everything *decided* is equal; what is measured (``usage``,
    ``judge_time``, ``path``, ``cached``, ``near_limit``) is left out of the comparison.
    """

    problem_id: str
    #: Which submission of this problem in its batch, from 0.
    sample: int
    #: Whether every test case passed.
    accepted: bool
    #: Passed test cases / all test cases; ``None`` if the sandbox failed on one of them.
    pass_ratio: Optional[float]
    #: One of :data:`ERROR_TYPES`.
    error_type: str
    #: What exactly: an exception class, ``signal:SIGSEGV``, ``memory_limit``, ``no_output``, …
    error_subtype: Optional[str]
    n_tests: int
    #: How many test cases ended how.
    error_types: Mapping[str, int]
    #: Each test case in dataset order; empty when nothing compiled.
    tests: Tuple[TestVerdict, ...]
    #: The facts of the test case that decided it: ``outcome``, ``exception``, ``stderr``, …
    evidence: Optional[Mapping[str, Any]]
    dataset: str
    kind: str
    #: Which extraction mode found the code in the text of a model.
    extraction: Optional[str]
    #: Generation had stopped at its token limit.
    truncated: bool
    #: ``isolated``: the tests were out of the candidate's reach; ``shared``: they were not.
    integrity: str
    #: The isolation every run really had: ``namespaces``, ``restricted`` or ``wasm``.
    isolation: str
    backend: str
    compare: Optional[str] = None
    #: Seconds, all runs together.
    judge_time: float = field(default=0.0, compare=False)
    usage: Usage = field(default=Usage(), compare=False)
    path: Optional[str] = field(default=None, compare=False)
    #: The verdict was known already.
    cached: bool = field(default=False, compare=False)
    #: A run used 80 % of a time limit or more: another machine may decide otherwise.
    near_limit: bool = field(default=False, compare=False)
    #: The verdict row as it came.
    row: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Verdict":
        """Reads a verdict row. Raises ``ValueError`` if it is none, or one of another schema."""
        schema = row.get("schema")
        if schema != "codejury.verdict/1":
            raise ValueError(f"no verdict row of schema codejury.verdict/1: its schema is {schema!r}")
        tests = tuple(
            TestVerdict(
                index=test["index"],
                error_type=test["error_type"],
                error_subtype=test.get("error_subtype"),
                first_difference=test.get("first_difference"),
                usage=Usage.from_row(test.get("usage")),
            )
            for test in row["tests"]
        )
        return cls(
            problem_id=row["problem_id"],
            sample=row["sample"],
            accepted=row["accepted"],
            pass_ratio=row["pass_ratio"],
            error_type=row["error_type"],
            error_subtype=row["error_subtype"],
            n_tests=row["n_tests"],
            error_types=row["error_types"],
            tests=tests,
            evidence=row["evidence"],
            dataset=row["dataset"],
            kind=row["kind"],
            extraction=row["extraction"],
            truncated=row["truncated"],
            integrity=row["integrity"],
            isolation=row["isolation"],
            backend=row["backend"],
            compare=row["compare"],
            judge_time=row["judge_time"],
            usage=Usage.from_row(row["usage"]) or Usage(),
            path=row["path"],
            cached=row["cached"],
            near_limit=row["near_limit"],
            row=row,
        )

    @property
    def failed_by_us(self) -> bool:
        """Whether the sandbox failed: then nothing is known of the submission, and it has no reward."""
        return self.error_type == "api_error"

    @property
    def stderr(self) -> str:
        """The end of standard error of the test case that decided, as far as it was kept."""
        return str((self.evidence or {}).get("stderr") or "")

    def __repr__(self) -> str:
        parts = [f"{self.problem_id!r}", self.error_type]
        if self.error_subtype:
            parts.append(_plain(self.error_subtype))
        passed = sum(test.passed for test in self.tests)
        parts.append(f"{passed}/{self.n_tests} tests passed")
        if self.near_limit:
            parts.append("near a time limit")
        return f"<Verdict {', '.join(parts)}>"

    def _repr_html_(self) -> str:
        return _verdict_html(self)


@dataclass(frozen=True)
class CommandResult:
    """One process that `/run_code` ran: the program, or its compiler."""

    #: ``Finished``, ``Error`` or ``TimeLimitExceeded``.
    status: str
    #: Seconds, from program start.
    execution_time: Optional[float]
    #: ``None`` after a time-out; negative for a signal.
    return_code: Optional[int]
    stdout: str
    stderr: str
    #: Seconds of CPU, where the server measures it.
    cpu_time: Optional[float] = None

    @classmethod
    def from_row(cls, row: Optional[Mapping[str, Any]]) -> "Optional[CommandResult]":
        if row is None:
            return None
        return cls(
            status=row["status"],
            execution_time=row.get("execution_time"),
            return_code=row.get("return_code"),
            stdout=row.get("stdout") or "",
            stderr=row.get("stderr") or "",
            cpu_time=row.get("cpu_time"),
        )


@dataclass(frozen=True)
class RunResult:
    """What one program did. A fact, not a verdict."""

    #: ``Success``, or ``Failed`` for anything the program did wrong.
    status: str
    message: str
    compile_result: Optional[CommandResult]
    run_result: Optional[CommandResult]
    #: The files asked for by ``fetch_files``, as far as they exist.
    files: Mapping[str, bytes]

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "RunResult":
        files = {name: base64.b64decode(data) for name, data in (row.get("files") or {}).items()}
        return cls(
            status=row["status"],
            message=row.get("message") or "",
            compile_result=CommandResult.from_row(row.get("compile_result")),
            run_result=CommandResult.from_row(row.get("run_result")),
            files=files,
        )

    @property
    def ok(self) -> bool:
        return self.status == "Success"

    @property
    def stdout(self) -> str:
        return self.run_result.stdout if self.run_result else ""

    @property
    def stderr(self) -> str:
        last = self.run_result or self.compile_result
        return last.stderr if last else ""

    @property
    def return_code(self) -> Optional[int]:
        return self.run_result.return_code if self.run_result else None

    @property
    def timed_out(self) -> bool:
        return self.run_result is not None and self.run_result.status == "TimeLimitExceeded"

    def __repr__(self) -> str:
        if self.timed_out:
            end = "timed out"
        elif self.run_result is None:
            end = "did not compile" if self.compile_result else "did not run"
        else:
            end = f"exit {self.return_code}"
        return f"<RunResult {self.status}, {end}, {len(self.stdout)} characters of stdout>"

    def _repr_html_(self) -> str:
        blocks = [_heading(self.ok, self.status, "")]
        for name, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            if text:
                blocks.append(_block(name, text))
        return "".join(blocks)


# What a notebook shows. Inline styles only: a notebook strips style sheets, and themes differ.

_MAX_TESTS_SHOWN = 100
_MAX_CHARS_SHOWN = 4000
_GOOD, _BAD, _OURS = "#1a7f37", "#b42318", "#9a6700"


def _plain(text: str) -> str:
    """The text without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _escape(value: object) -> str:
    text = str(value)
    cut = len(text) - _MAX_CHARS_SHOWN
    if cut > 0:
        text = f"{text[:_MAX_CHARS_SHOWN]} … ({cut} more characters)"
    return html.escape(text, quote=True)


def _heading(good: bool, word: str, detail: str, ours: bool = False) -> str:
    colour = _OURS if ours else _GOOD if good else _BAD
    return f'<div><b style="color:{colour}">{_escape(word)}</b> {detail}</div>'


def _block(name: str, text: str) -> str:
    return (
        f"<div>{_escape(name)}</div>"
        f'<pre style="max-height:16em;overflow:auto;margin:0 0 .5em 0">{_escape(text)}</pre>'
    )


def _verdict_html(verdict: Verdict) -> str:
    passed = sum(test.passed for test in verdict.tests)
    detail = f"{_escape(verdict.problem_id)}"
    if verdict.error_subtype:
        detail = f"({_escape(verdict.error_subtype)}) {detail}"
    detail += f": {passed} of {verdict.n_tests} test cases passed"
    facts = [f"isolation {verdict.isolation}", f"integrity {verdict.integrity}"]
    if verdict.extraction:
        facts.append(f"code found as {verdict.extraction}")
    if verdict.near_limit:
        facts.append("near a time limit: another machine may decide otherwise")
    blocks = [
        _heading(verdict.accepted, verdict.error_type, detail, ours=verdict.failed_by_us),
        f'<div style="opacity:.7">{_escape(", ".join(facts))}</div>',
    ]
    if verdict.tests:
        blocks.append(_tests_html(verdict.tests))
    if verdict.stderr:
        blocks.append(_block("end of stderr", verdict.stderr))
    return "".join(blocks)


def _quoted(text: Optional[str]) -> str:
    return "nothing" if text is None else f"<code>{_escape(text)}</code>"


def _tests_html(tests: Tuple[TestVerdict, ...]) -> str:
    rows: List[str] = []
    for test in tests[:_MAX_TESTS_SHOWN]:
        difference: Dict[str, Any] = dict(test.first_difference or {})
        where = ", ".join(f"{key} {_escape(difference[key])}" for key in ("line", "column") if difference.get(key))
        seen = " ".join(
            f"{key} {_quoted(difference[key])}" for key in ("expected", "actual") if key in difference
        )
        cells = [
            str(test.index),
            _escape(test.error_type),
            _escape(test.error_subtype or ""),
            " ".join(part for part in (where, seen) if part),
            f"{test.usage.wall_time_ms:.0f} ms" if test.usage else "",
        ]
        rows.append("<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in cells) + "</tr>")
    if len(tests) > _MAX_TESTS_SHOWN:
        rows.append(f'<tr><td colspan="5">… {len(tests) - _MAX_TESTS_SHOWN} more</td></tr>')
    head = "".join(
        f'<th style="text-align:left">{name}</th>' for name in ("test", "ended as", "exactly", "first difference", "wall")
    )
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"
