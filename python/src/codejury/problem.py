"""From the shapes in which training data carries its tests to one native problem row.

:func:`problem_from` takes, as an object or as JSON in a string,

- a native row: anything with a ``kind``;
- verl's test cases: ``inputs`` and ``outputs``, with ``fn_name`` for function tasks, or ``assert_case``.

The second form is read just as ``codejury dataset import`` reads it, so that a reward in training equals
the verdict of an evaluation on the same data.
"""

import hashlib
import json
from typing import Any, Dict, List, Mapping, Optional, Union

from .errors import RequestRejected

__all__ = ["CALL_SETUP", "problem_from"]

#: What LeetCode gives every solution: such programs write ``List[int]`` or ``defaultdict`` without an
#: import. Builtins come after the stars (``math`` has a ``pow`` of its own), modules come last
#: (``copy`` names a module and a function).
CALL_SETUP = """\
from string import *
from re import *
from datetime import *
from collections import *
from heapq import *
from bisect import *
from copy import *
from math import *
from random import *
from statistics import *
from itertools import *
from functools import *
from operator import *
from typing import *
from builtins import *
import string, re, datetime, collections, heapq, bisect, copy, math, random
import statistics, itertools, functools, operator, typing, io, sys, json
"""


def problem_from(
    ground_truth: Union[str, bytes, Mapping[str, Any]],
    *,
    problem_id: Optional[str] = None,
    dataset: Optional[str] = None,
) -> Dict[str, Any]:
    """The native problem row that ``ground_truth`` describes.

    ``problem_id`` and ``dataset`` are used where the row has none; without an id it gets one made of its
    content. Raises :class:`RequestRejected` if the value is neither form.
    """
    value = _plain(ground_truth)
    if isinstance(value, (str, bytes)):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise RequestRejected(f"the ground truth is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise RequestRejected(f"the ground truth is no JSON object but {_kind_of(value)}")
    # Tables with one schema for all rows (parquet, datasets) fill what a row lacks with nulls.
    value = {key: field for key, field in value.items() if field is not None}
    if "kind" in value:
        row = dict(value)
    elif "assert_case" in value or "inputs" in value:
        row = _from_verl(value)
    else:
        known = ", ".join(sorted(map(str, value))[:6]) or "no keys at all"
        raise RequestRejected(
            f"the ground truth has neither `kind` (a native row) nor `inputs` and `outputs` (verl's form): it has {known}"
        )
    if "problem_id" in row:
        row["problem_id"] = str(row["problem_id"])
    else:
        row = {"problem_id": problem_id or _id_of(row), **row}
    if dataset and "dataset" not in row:
        row["dataset"] = dataset
    return row


def _id_of(row: Mapping[str, Any]) -> str:
    text = json.dumps(row, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """The value with numpy's arrays and scalars, which parquet readers hand out, as lists and numbers."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _kind_of(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def _from_verl(value: Mapping[str, Any]) -> Dict[str, Any]:
    asserts = value.get("assert_case")
    if asserts is not None:
        if any(value.get("inputs") or []) or any(item is not None for item in value.get("outputs") or []):
            raise RequestRejected("the ground truth has `assert_case` beside inputs or outputs that are not empty")
        return {"kind": "asserts", "tests": list(map(str, asserts))}
    if "outputs" not in value:
        raise RequestRejected("the ground truth has `inputs` but no `outputs`")
    inputs, outputs = value["inputs"], value["outputs"]
    if len(inputs) != len(outputs):
        raise RequestRejected(f"the ground truth has {len(inputs)} inputs but {len(outputs)} outputs")
    if not inputs:
        raise RequestRejected("the ground truth has no test case")
    entry_point = value.get("fn_name")
    if not entry_point:
        stdio = [
            {"stdin": _text(given, f"inputs[{i}]"), "expected": _text(wanted, f"outputs[{i}]")}
            for i, (given, wanted) in enumerate(zip(inputs, outputs))
        ]
        return {"kind": "stdio", "tests": stdio}
    calls = [_call(given, wanted, i) for i, (given, wanted) in enumerate(zip(inputs, outputs))]
    if not any(isinstance(given, str) for given in inputs):
        _unwrap(calls)
    return {"kind": "call", "entry_point": entry_point, "setup": CALL_SETUP, "tests": calls}


def _text(value: Any, name: str) -> str:
    """A text, or a list of lines."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_text(line, name) for line in value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise RequestRejected(f"the ground truth's {name} is no text but {_kind_of(value)}")


def _call(given: Any, wanted: Any, index: int) -> Dict[str, Any]:
    if not isinstance(given, str):
        if not isinstance(given, list):
            raise RequestRejected(f"the ground truth's inputs[{index}] is no list of arguments but {_kind_of(given)}")
        return {"args": given, "expected": wanted}
    # verl writes the arguments as JSON texts, one a line, and the result as one.
    args = [_json(line, f"inputs[{index}]") for line in given.split("\n") if line.strip()]
    return {"args": args, "expected": _json(wanted, f"outputs[{index}]")}


def _json(text: Any, name: str) -> Any:
    if not isinstance(text, str):
        raise RequestRejected(f"the ground truth's {name} is no JSON in a text but {_kind_of(text)}")
    try:
        return json.loads(text)
    except ValueError as error:
        raise RequestRejected(f"the ground truth's {name} is no JSON: {error}") from None


def _unwrap(calls: List[Dict[str, Any]]) -> None:
    """APPS wraps each result in a list of one, row by row; its evaluator takes it either way."""
    if all(isinstance(call["expected"], list) and len(call["expected"]) == 1 for call in calls):
        for call in calls:
            call["expected"] = call["expected"][0]
