//! APPS: `input_output` with `inputs`, `outputs` and, for function tasks, `fn_name`.

use judge::{CallTest, LimitOverrides, Problem, StdioTest, Suite, Value};
use serde_json::value::RawValue;

use super::DatasetSpec;
use super::cases::{call_test_of_texts, object_or_json, stdio_test, value};
use crate::fields::{FieldError, Fields, items, read};

pub(super) const COLUMNS: &[&str] = &[
    "id",
    "problem_id",
    "question",
    "starter_code",
    "input_output",
];

/// What LeetCode gives every solution, and the evaluators of APPS and LiveCodeBench put in front:
/// such solutions write `List[int]` or `defaultdict(list)` without importing them. Builtins come
/// after the stars, because `math` has a `pow` of its own; modules come last, because `copy` and
/// others name both a module and a function.
pub(super) const IMPORTS: &str = "\
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
";

pub(super) fn problem(row: &Fields<'_>, spec: &DatasetSpec) -> Result<Problem, FieldError> {
    let id = match row.id("problem_id")? {
        Some(id) => id,
        None => row
            .id("id")?
            .ok_or_else(|| row.error("problem_id", "missing"))?,
    };
    let starter_code: String = row.optional("starter_code")?.unwrap_or_default();
    let mut unquoted = String::new();
    let Some(tests) = object_or_json(row, "input_output", &mut unquoted)? else {
        return Err(row.error("input_output", "no test cases"));
    };
    let suite = suite(&tests, &starter_code)?;
    if suite.test_count() == 0 {
        return Err(tests.error("inputs", "no test cases"));
    }
    let question: String = row.optional("question")?.unwrap_or_default();
    Ok(Problem {
        problem_id: id.under("APPS"),
        dataset: String::new(),
        prompt: with_starter_code(question, &starter_code),
        suite,
        compare: None,
        limits: LimitOverrides::default(),
        source_limits: LimitOverrides::default(),
        references: if spec.references {
            solutions(row)?
        } else {
            Vec::new()
        },
    })
}

/// The statement, then the code to begin with.
pub(super) fn with_starter_code(mut statement: String, starter_code: &str) -> String {
    if !starter_code.trim().is_empty() {
        statement.push_str("\n\n");
        statement.push_str(starter_code);
    }
    statement
}

fn suite(tests: &Fields<'_>, starter_code: &str) -> Result<Suite, FieldError> {
    let (inputs, outputs) = (tests.items("inputs")?, tests.items("outputs")?);
    if inputs.len() != outputs.len() {
        let reason = format!("{} inputs but {} outputs", inputs.len(), outputs.len());
        return Err(tests.error("inputs", reason));
    }
    let pairs = inputs.into_iter().zip(outputs);
    let Some(entry_point) = tests.optional::<String>("fn_name")? else {
        let tests = pairs.map(|((input_name, input), (output_name, output))| {
            Ok(stdio_test(
                text_or_lines(input, &input_name)?,
                text_or_lines(output, &output_name)?,
            ))
        });
        return Ok(Suite::Stdio {
            tests: tests.collect::<Result<Vec<StdioTest>, FieldError>>()?,
            checker: None,
            input_file: None,
            output_file: None,
        });
    };
    let mut in_texts = false;
    let mut tests = pairs
        .map(|((input_name, input), (output_name, output))| {
            if input.get().starts_with('"') {
                // verl writes the arguments of a call as JSON texts, one a line, and never wraps
                // the result.
                in_texts = true;
                let input: String = read(input, || input_name.clone())?;
                let output: String = read(output, || output_name)?;
                return call_test_of_texts(&input, &output, &input_name);
            }
            let args = items(input, &input_name)?;
            let args = args.into_iter().map(|(name, raw)| value(raw, &name));
            Ok(CallTest {
                args: args.collect::<Result<_, _>>()?,
                expected: value(output, &output_name)?,
            })
        })
        .collect::<Result<Vec<CallTest>, FieldError>>()?;
    if !in_texts {
        unwrap_expected(&mut tests, starter_code);
    }
    Ok(Suite::Call {
        entry_point,
        setup: IMPORTS.into(),
        tests,
    })
}

/// Many APPS rows wrap each result in a list of one, and APPS' own evaluator accepts it either
/// way. Here a row is wrapped when all its results are such lists and its starter code does not
/// say that the function returns a list.
fn unwrap_expected(tests: &mut [CallTest], starter_code: &str) {
    let returns_list = starter_code.contains("-> List") || starter_code.contains("-> list");
    let wrapped =
        |test: &CallTest| matches!(&test.expected, Value::List(items) if items.len() == 1);
    if returns_list || !tests.iter().all(wrapped) {
        return;
    }
    for test in tests {
        if let Value::List(items) = &mut test.expected
            && let Some(only) = items.pop()
        {
            test.expected = only;
        }
    }
}

/// A text, or a list of lines.
fn text_or_lines(raw: &RawValue, name: &str) -> Result<String, FieldError> {
    if !raw.get().starts_with('[') {
        return read(raw, || name.to_owned());
    }
    let lines = items(raw, name)?
        .into_iter()
        .map(|(name, line)| read(line, || name));
    Ok(lines.collect::<Result<Vec<String>, _>>()?.join("\n"))
}

/// Sources as a list of strings or of `{"solution"}` objects, or such a list as JSON in a string.
fn solutions(row: &Fields<'_>) -> Result<Vec<String>, FieldError> {
    let Some(raw) = row.raw("solutions") else {
        return Ok(Vec::new());
    };
    let name = row.name("solutions");
    if raw.get().starts_with('"') {
        let text: String = read(raw, || name.clone())?;
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        return serde_json::from_str(&text)
            .map_err(|error| FieldError::new(name, format!("no JSON list of strings: {error}")));
    }
    let sources = items(raw, &name)?.into_iter().map(|(name, item)| {
        if item.get().starts_with('{') {
            Fields::parse_at(item.get(), name)?.required("solution")
        } else {
            read(item, || name)
        }
    });
    sources.collect()
}

#[cfg(test)]
mod tests {
    use judge::{CallTest, Suite, Value};

    use super::{suite, unwrap_expected};
    use crate::fields::Fields;

    #[test]
    fn a_row_is_unwrapped_only_as_a_whole() {
        let cases = [
            (&["[1]", "[2]"][..], "def f(x):", &["1", "2"][..]),
            (&["[1]", "[2, 3]"], "def f(x):", &["[1]", "[2,3]"]),
            (&["[1]", "2"], "def f(x):", &["[1]", "2"]),
            (&["[1]"], "def f(self, x: int) -> List[int]:", &["[1]"]),
            (&["[[1]]"], "", &["[1]"]),
        ];
        for (expected, starter_code, result) in cases {
            let value = |text: &&str| Value::from_json(text).expect("JSON");
            let mut tests: Vec<CallTest> = expected
                .iter()
                .map(|e| CallTest {
                    args: vec![],
                    expected: value(e),
                })
                .collect();
            unwrap_expected(&mut tests, starter_code);
            let unwrapped: Vec<String> = tests.iter().map(|t| t.expected.to_json()).collect();
            assert_eq!(unwrapped, result, "case: {expected:?}");
        }
    }

    #[test]
    fn results_in_texts_are_meant_as_they_stand() {
        let row = r#"{"fn_name": "f", "inputs": ["1", "2"], "outputs": ["[1]", "[2]"]}"#;
        let fields = Fields::parse_at(row, "input_output".into()).expect("an object");
        let Ok(Suite::Call { tests, .. }) = suite(&fields, "") else {
            panic!("a suite of calls");
        };
        assert_eq!(tests[0].expected.to_json(), "[1]");
    }
}
