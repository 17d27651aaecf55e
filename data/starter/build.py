#!/usr/bin/env python3
"""Assembles problems.jsonl, completions.jsonl and expected.jsonl from the sheets in src/.

    build.py            write the three files
    build.py --check    write nothing; exit 1 if one of them is stale

A sheet is one problem with its recorded completions: `key: value` lines, then sections. A section
starts with a line `=== name …` and holds text as it is, less the blank lines at its end. README.md
lists the sections. Needs CPython 3.9 or newer, standard library only.
"""

import base64
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
KINDS = ("stdio", "check", "asserts", "call")  # the folders of src/, in the order of the suite
SAMPLES = 4  # as many for each problem, so that pass@k is defined for every k up to it

SECTION = re.compile(r"^=== (.*)\n", re.MULTILINE)
ANSWERS = ("completion", "source")
SECTIONS = {  # what a sheet of each kind may hold beside these: prompt, reference, the answers
    "stdio": ("stdin", "expected"),
    "checker": ("stdin", "expected", "checker"),
    "check": ("test",),
    "asserts": ("setup", "asserts"),
    "call": ("calls",),
}
HEADING = re.compile(r"(?P<name>\w+)(?P<words>( [\w/:]+)*)( -- .*)?$")


class SheetError(Exception):
    """A sheet breaks the rules; the message says which and where."""


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    try:
        files = build()
    except SheetError as error:
        sys.exit(f"build.py: {error}")
    stale = [name for name, text in files.items() if read(name) != text.encode()]
    if "--check" not in sys.argv:
        for name in stale:
            (HERE / name).write_bytes(files[name].encode())
    elif stale:
        sys.exit(f"build.py: stale: {', '.join(stale)}; run build.py and commit the result")


def build():
    """The text of the three files, by name."""
    rows = {"problems.jsonl": [], "completions.jsonl": [], "expected.jsonl": []}
    for kind in KINDS:
        for path in sorted((HERE / "src" / kind).glob("*.txt")):
            try:
                fields, sections = parse(path)
                problem = problem_row(path.stem, fields, sections)
                answers = list(answer_rows(problem, sections))
            except (LookupError, ValueError) as error:
                raise SheetError(f"{path.relative_to(HERE)}: {error!r}") from error
            rows["problems.jsonl"].append(problem)
            rows["completions.jsonl"] += [completion for completion, _ in answers]
            rows["expected.jsonl"] += [expected for _, expected in answers]
    return {name: "".join(map(json_line, items)) for name, items in rows.items()}


def parse(path):
    """A sheet's fields, and its sections as (name, words of the heading, text)."""
    head, *parts = SECTION.split(path.read_bytes().decode())
    fields = dict(line.split(": ", 1) for line in head.splitlines() if line)
    sections = []
    for heading, text in zip(parts[::2], parts[1::2]):
        match = HEADING.match(heading)
        if not match:
            raise ValueError(f"cannot read the heading {heading!r}")
        text = text.rstrip("\n")
        sections.append((match["name"], match["words"].split(), text and text + "\n"))
    return fields, sections


def problem_row(name, fields, sections):
    """The native problem row."""
    kind = fields.pop("kind")
    texts = {section: text for section, _, text in sections}
    unknown = set(texts) - {"prompt", "reference", *ANSWERS, *SECTIONS[kind]}
    if unknown:
        raise ValueError(f"no such section in a {kind} sheet: {', '.join(sorted(unknown))}")
    row = {
        "problem_id": f"starter/{name}",
        "dataset": "starter",
        "kind": kind,
        "prompt": texts["prompt"],
    }
    if "entry_point" in fields:
        row["entry_point"] = fields.pop("entry_point")
    if kind in ("stdio", "checker"):
        row["tests"] = list(stdio_tests(sections))
    if kind == "checker":
        row["checker"] = {"source": texts["checker"], "language": "python"}
    if kind == "check":
        row["test"] = texts["test"]
    if kind == "asserts":
        row["tests"] = texts["asserts"].splitlines()
        row["setup"] = texts.get("setup", "")
    if kind == "call":
        row["tests"] = [json.loads(line) for line in texts["calls"].splitlines()]
    row["reference"] = texts["reference"]
    if "compare" in fields:
        row["compare"] = fields.pop("compare")
    if "limits" in fields:
        row["limits"] = json.loads(fields.pop("limits"))
    if fields:
        raise ValueError(f"unknown fields: {', '.join(fields)}")
    return row


def stdio_tests(sections):
    """Each `stdin` section with the `expected` section that follows it."""
    cases = [section for section in sections if section[0] in ("stdin", "expected")]
    if [name for name, _, _ in cases] != ["stdin", "expected"] * (len(cases) // 2):
        raise ValueError("stdin and expected must take turns")
    for stdin, expected in zip(cases[::2], cases[1::2]):
        yield {**bytes_field(*stdin), **bytes_field(*expected)}


def bytes_field(name, words, text):
    """`{name: text}`, or `{name_b64: …}` for bytes that are no UTF-8."""
    data = text.encode()
    if words == ["escaped"]:  # one line of escapes, for bytes and line ends that a text cannot show
        data = text.rstrip("\n").encode("latin-1").decode("unicode_escape").encode("latin-1")
    elif words:
        raise ValueError(f"unknown word after {name}: {words}")
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_b64": base64.b64encode(data).decode()}


def answer_rows(problem, sections):
    """A completion row and its expected verdict, for each recorded answer."""
    answers = [section for section in sections if section[0] in ANSWERS]
    if len(answers) != SAMPLES:
        raise ValueError(f"{len(answers)} completions, should be {SAMPLES}")
    for sample, (name, words, text) in enumerate(answers):
        if name == "completion":
            text = text.rstrip("\n")  # a model's answer ends with its last character
        if words[-1] == "crlf":
            text = text.replace("\n", "\r\n")
            words = words[:-1]
        key = {"problem_id": problem["problem_id"], "sample": sample}
        yield {**key, name: text}, {**key, **verdict(words, len(problem.get("tests", "1")))}


def verdict(words, cases):
    """`error_type[/error_subtype] [passed/cases]`; without a ratio, all pass or none."""
    error_type, _, subtype = words[0].partition("/")
    passed = cases if error_type == "success" else 0
    if len(words) > 1:
        passed, of = map(int, words[1].split("/"))
        if of != cases or not 0 < passed < cases:
            raise ValueError(f"{words[1]} does not fit {cases} test cases")
    return {
        "error_type": error_type,
        "error_subtype": subtype or None,
        "pass_ratio": passed / cases,
    }


def json_line(row):
    return json.dumps(row, ensure_ascii=False) + "\n"


def read(name):
    path = HERE / name
    return path.read_bytes() if path.exists() else None


if __name__ == "__main__":
    main()
