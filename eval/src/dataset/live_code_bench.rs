//! LiveCodeBench's code generation rows.
//!
//! `public_test_cases` is JSON in a string. `private_test_cases` is that too, or base64 of zlib of
//! it; the published files have a *pickle* inside, which can run any code when loaded. Those are
//! refused by name, never loaded.

use std::io::Read as _;

use base64::Engine as _;
use judge::{CallTest, LimitOverrides, Problem, StdioTest, Suite};
use serde_json::value::RawValue;

use super::apps::{IMPORTS, with_starter_code};
use super::cases::{call_test_of_texts, object_or_json, stdio_test};
use super::{DatasetSpec, TestSelection};
use crate::fields::{FieldError, Fields, items};

pub(super) const COLUMNS: &[&str] = &[
    "question_id",
    "platform",
    "question_content",
    "starter_code",
    "public_test_cases",
    "private_test_cases",
    "metadata",
];

/// Unpacked tests larger than this are refused; the largest published ones are about 300 MiB.
const MAX_UNPACKED_BYTES: u64 = 2 * 1024 * 1024 * 1024;

pub(super) fn problem(row: &Fields<'_>, spec: &DatasetSpec) -> Result<Problem, FieldError> {
    let id = row
        .id("question_id")?
        .ok_or_else(|| row.error("question_id", "missing"))?
        .plain();
    let platform: Option<String> = row.optional("platform")?;
    let mut tests = Tests::default();
    let parts = [
        (TestSelection::Public, "public_test_cases"),
        (TestSelection::Private, "private_test_cases"),
    ];
    for (part, field) in parts {
        if spec.tests.includes(part) {
            let text = tests_as_json(row, field)?;
            if !text.trim().is_empty() {
                tests.read(&text, &row.name(field))?;
            }
        }
    }
    let mut unquoted = String::new();
    let metadata = object_or_json(row, "metadata", &mut unquoted)?;
    let suite = match (tests.stdio.is_empty(), tests.calls.is_empty()) {
        (true, true) => return Err(row.error("public_test_cases", "no test cases")),
        (false, false) => {
            let reason = "both stdin and functional test cases in one row";
            return Err(row.error("public_test_cases", reason));
        }
        (false, true) => Suite::Stdio {
            tests: tests.stdio,
            checker: None,
            input_file: None,
            output_file: None,
        },
        (true, false) => Suite::Call {
            entry_point: match &metadata {
                Some(metadata) => metadata.required("func_name")?,
                None => return Err(row.error("metadata", "missing")),
            },
            setup: IMPORTS.into(),
            tests: tests.calls,
        },
    };
    let starter_code: String = row.optional("starter_code")?.unwrap_or_default();
    let statement: String = row.optional("question_content")?.unwrap_or_default();
    Ok(Problem {
        problem_id: match platform {
            Some(platform) => format!("{platform}/{id}"),
            None => id,
        },
        dataset: String::new(),
        prompt: with_starter_code(statement, &starter_code),
        suite,
        compare: None,
        limits: LimitOverrides::default(),
        source_limits: LimitOverrides::default(),
        references: Vec::new(),
    })
}

#[derive(Default)]
struct Tests {
    stdio: Vec<StdioTest>,
    calls: Vec<CallTest>,
}

impl Tests {
    fn read(&mut self, text: &str, name: &str) -> Result<(), FieldError> {
        let list: &RawValue = serde_json::from_str(text)
            .map_err(|error| FieldError::new(name, format!("not valid JSON: {error}")))?;
        for (name, item) in items(list, name)? {
            let test = Fields::parse_at(item.get(), name.clone())?;
            let (input, output): (String, String) =
                (test.required("input")?, test.required("output")?);
            let kind: String = test.optional("testtype")?.unwrap_or_else(|| "stdin".into());
            match kind.as_str() {
                "stdin" => self.stdio.push(stdio_test(input, output)),
                "functional" => self.calls.push(call_test_of_texts(&input, &output, &name)?),
                other => {
                    let reason = format!("unknown type {other:?}; known: stdin, functional");
                    return Err(test.error("testtype", reason));
                }
            }
        }
        Ok(())
    }
}

/// The tests of a field as JSON text, unpacked if they are packed; empty if there are none.
pub(super) fn tests_as_json(row: &Fields<'_>, field: &str) -> Result<String, FieldError> {
    let Some(raw) = row.raw(field) else {
        return Ok(String::new());
    };
    if !raw.get().starts_with('"') {
        return Ok(raw.get().to_owned());
    }
    let text: String = row.required(field)?;
    if text.trim().is_empty() || text.trim_start().starts_with(['[', '{']) {
        return Ok(text);
    }
    let packed = base64::engine::general_purpose::STANDARD
        .decode(text.trim())
        .map_err(|_| row.error(field, "neither JSON nor base64"))?;
    let mut unpacked = Vec::new();
    flate2::read::ZlibDecoder::new(packed.as_slice())
        .take(MAX_UNPACKED_BYTES)
        .read_to_end(&mut unpacked)
        .map_err(|error| row.error(field, format!("base64, but no zlib inside ({error})")))?;
    match unpacked.first() {
        Some(0x80) => Err(row.error(
            field,
            "a pickle (base64 of zlib of a pickle), which is never loaded because it can run code; \
             convert the tests to JSON first",
        )),
        _ => String::from_utf8(unpacked).map_err(|_| row.error(field, "unpacks to no UTF-8")),
    }
}
