"""Verdicts as objects, and as a notebook or a terminal shows them."""

import dataclasses

import pytest
from conftest import verdict_row

from codejury import RunResult, Verdict
from codejury.rewards import score_of

EVIL = "<script>alert(1)</script>&\"'\x1b[31m"


def test_a_row_is_read_whole():
    row = verdict_row(error_type="wrong_answer", error_subtype="wrong_output", pass_ratio=0.5, near_limit=True,
                      evidence={"test": 0, "outcome": "exit:0", "stderr": "oops"})
    verdict = Verdict.from_row(row)
    for field in dataclasses.fields(Verdict):
        if field.name not in ("tests", "usage", "row"):
            assert getattr(verdict, field.name) == row[field.name], field.name
    assert verdict.row == row
    assert verdict.usage.memory_peak_bytes == 1024
    assert verdict.tests[0].error_type == "wrong_answer" and not verdict.tests[0].passed
    assert verdict.stderr == "oops"
    with pytest.raises(dataclasses.FrozenInstanceError):
        verdict.accepted = True


def test_what_is_measured_does_not_count_for_equality():
    a = Verdict.from_row(verdict_row())
    b = Verdict.from_row(verdict_row(judge_time=9.0, path="cold", cached=True, near_limit=True))
    assert a == b
    assert a != Verdict.from_row(verdict_row(error_subtype="x"))


@pytest.mark.parametrize("row", [{}, {"schema": "codejury.verdict/2"}, {"schema": None}])
def test_another_schema_is_refused(row):
    with pytest.raises(ValueError, match="schema"):
        Verdict.from_row(row)


def test_html_is_escaped_everywhere():
    difference = {"line": 1, "column": 2, "expected": EVIL, "actual": None}
    row = verdict_row(EVIL, error_type="wrong_answer", error_subtype=EVIL, extraction=EVIL,
                      evidence={"stderr": EVIL}, tests=[{"index": 0, "error_type": "wrong_answer", "error_subtype": EVIL,
                      "first_difference": difference, "usage": None}])
    html = Verdict.from_row(row)._repr_html_()
    assert "<script" not in html and "&lt;script&gt;" in html
    assert "expected <code>" in html and "actual nothing" in html
    run = {"status": "Finished", "execution_time": 0.1, "return_code": 1, "stdout": EVIL, "stderr": EVIL}
    result = RunResult.from_row({"status": "Failed", "message": "", "compile_result": None, "run_result": run, "files": {}})
    assert "<script" not in result._repr_html_()


def test_repr_is_plain_and_short():
    text = repr(Verdict.from_row(verdict_row(EVIL, error_type="runtime_error", error_subtype="E\x1b[0m\n", near_limit=True)))
    assert text.isprintable() and "0/1 tests passed" in text and "near a time limit" in text
    assert len(repr(Verdict.from_row(verdict_row()))) < 80


def test_long_output_is_cut_in_a_notebook():
    run = {"status": "Finished", "execution_time": 0.1, "return_code": 0, "stdout": "x" * 10**6, "stderr": ""}
    result = RunResult.from_row({"status": "Success", "message": "", "compile_result": None, "run_result": run, "files": {}})
    assert len(result._repr_html_()) < 10_000 and "more characters" in result._repr_html_()
    many = [{"index": i, "error_type": "success", "error_subtype": None, "first_difference": None, "usage": None} for i in range(5000)]
    assert Verdict.from_row(verdict_row(tests=many, n_tests=5000))._repr_html_().count("<tr>") < 110


def test_run_results():
    def result(status, compiled=None, run=None):
        return RunResult.from_row({"status": status, "message": "", "compile_result": compiled, "run_result": run, "files": None})

    finished = {"status": "Finished", "execution_time": 0.1, "return_code": 3, "stdout": "a", "stderr": "b"}
    timed_out = {"status": "TimeLimitExceeded", "execution_time": 1.0, "return_code": None, "stdout": "part", "stderr": None}
    cases = [
        (result("Failed", run=finished), "exit 3", False, "b"),
        (result("Failed", run=timed_out), "timed out", True, ""),
        (result("Failed", compiled=finished), "did not compile", False, "b"),
        (result("SandboxError"), "did not run", False, ""),
    ]
    for got, words, late, stderr in cases:
        assert words in repr(got) and got.timed_out is late and got.stderr == stderr and not got.ok
        got._repr_html_()


def test_scores():
    right, half = Verdict.from_row(verdict_row()), Verdict.from_row(verdict_row(error_type="wrong_answer", pass_ratio=0.5))
    assert (score_of(right), score_of(half), score_of(half, "pass_ratio")) == (1.0, 0.0, 0.5)
    with pytest.raises(ValueError, match="no score"):
        score_of(Verdict.from_row(verdict_row(error_type="api_error")))
    with pytest.raises(ValueError, match="accepted, pass_ratio"):
        score_of(right, "tests")
