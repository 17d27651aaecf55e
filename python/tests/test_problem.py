"""Ground truths become problem rows, and the same rows that the command's own reader makes of them."""

import json
import subprocess

import pytest

from codejury import RequestRejected, problem_from
from codejury._binary import find_binary
from codejury.rewards import compare_for, problem_for, text_of

VERL = [
    {"inputs": ["1 2\n", "3\n"], "outputs": ["3\n", "3\n"]},
    {"inputs": [["1 2", "3"], "4"], "outputs": ["3", ["1", "2"]], "fn_name": None},
    {"inputs": ["[1, 2]\n3", '"a"'], "outputs": ["[1]", "[2]"], "fn_name": "f"},
    {"inputs": [[1, "a"], [[2], None]], "outputs": [[3], [[4]]], "fn_name": "f"},
    {"inputs": [[1], [2]], "outputs": [[1, 2], [3]], "fn_name": "f"},
    {"inputs": ["", "12345678901234567890123\n1e400"], "outputs": ["null", '{"a": 1.5}'], "fn_name": "f"},
]


@pytest.mark.parametrize("truth", VERL, ids=range(len(VERL)))
def test_verls_form_is_read_as_the_command_reads_it(truth, tmp_path):
    source, out = tmp_path / "apps.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"problem_id": "p", "input_output": json.dumps(truth)}) + "\n")
    command = [find_binary(), "dataset", "import", str(source), "--format", "apps", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    theirs = json.loads(out.read_text())
    ours = problem_from(truth)
    for key in ("kind", "tests", "entry_point", "setup"):
        assert ours.get(key) == theirs.get(key), key


def test_json_bytes_and_objects_are_one():
    truth = VERL[0]
    assert problem_from(truth) == problem_from(json.dumps(truth)) == problem_from(json.dumps(truth).encode())


def test_arrays_of_parquet_readers():
    numpy = pytest.importorskip("numpy")
    array = {"inputs": numpy.array(["1", "2"], dtype=object), "outputs": numpy.array(["1", "2"], dtype=object), "fn_name": None}
    assert problem_from(array)["tests"] == [{"stdin": "1", "expected": "1"}, {"stdin": "2", "expected": "2"}]


def test_ids_follow_the_content():
    a, b = problem_from(VERL[0]), problem_from(VERL[1])
    assert a["problem_id"] != b["problem_id"] and a["problem_id"] == problem_from(dict(VERL[0]))["problem_id"]
    assert problem_from(VERL[0], problem_id="x", dataset="d")["problem_id"] == "x"
    assert problem_from({"problem_id": 11, "kind": "stdio", "tests": []})["problem_id"] == "11"


def test_asserts():
    truth = {"assert_case": ["assert f(1) == 2", "assert f(2) == 3"], "inputs": ["", ""], "outputs": [None, None]}
    row = problem_from(truth)
    assert row["kind"] == "asserts" and row["tests"] == truth["assert_case"]
    with pytest.raises(RequestRejected, match="assert_case"):
        problem_from({**truth, "inputs": ["1", ""]})


def test_nulls_of_tables_with_one_schema():
    row = {"kind": "stdio", "tests": [{"stdin": "", "expected": ""}], "entry_point": None, "compare": None, "problem_id": "p"}
    assert problem_from(row) == {"kind": "stdio", "tests": row["tests"], "problem_id": "p"}


@pytest.mark.parametrize(
    "truth, message",
    [
        ("{", "no JSON"),
        ("3", "no JSON object"),
        (None, "null"),
        ({}, "no keys"),
        ({"answer": "4"}, "it has answer"),
        ({"inputs": ["a"]}, "no `outputs`"),
        ({"inputs": ["a"], "outputs": []}, "1 inputs but 0 outputs"),
        ({"inputs": [], "outputs": []}, "no test case"),
        ({"inputs": [{}], "outputs": ["a"]}, r"inputs\[0\] is no text"),
        ({"inputs": ["a"], "outputs": [None]}, r"outputs\[0\] is no text but null"),
        ({"inputs": ["{"], "outputs": ["1"], "fn_name": "f"}, r"inputs\[0\] is no JSON"),
        ({"inputs": ["1"], "outputs": [1], "fn_name": "f"}, r"outputs\[0\] is no JSON in a text"),
        ({"inputs": [3], "outputs": [1], "fn_name": "f"}, r"inputs\[0\] is no list"),
    ],
)
def test_what_is_no_ground_truth_is_named(truth, message):
    with pytest.raises(RequestRejected, match=message):
        problem_from(truth)


def test_comparison_goes_with_the_data_source():
    cases = [("codecontests", "codecontests"), ("codecontests_valid_big", "codecontests"), ("deepmind/code_contests", "codecontests"),
             ("apps", None), ("taco", None), ("codecontests_plus", None), (None, None), ("", None)]
    for source, expected in cases:
        assert compare_for(source) == expected, source
    stdio = {"kind": "stdio", "tests": [{"stdin": "", "expected": ""}]}
    assert problem_for(stdio, "codecontests")["compare"] == "codecontests"
    assert problem_for({**stdio, "compare": "exact"}, "codecontests")["compare"] == "exact"
    assert problem_for({**stdio, "compare": "exact"}, "codecontests", compare="lines")["compare"] == "lines"
    assert "compare" not in problem_for(VERL[2], "codecontests")


def test_texts_of_completions():
    cases = [
        ("a", "a"),
        ([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "a"),
        ([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}], "ab"),
        ([{"role": "assistant", "content": None}], ""),
        ([], ""),
    ]
    for completion, text in cases:
        assert text_of(completion) == text
    with pytest.raises(RequestRejected):
        text_of(3)
