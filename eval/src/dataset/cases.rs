//! Test cases as the formats spell them.

use judge::{CallTest, StdioTest, Value};
use serde_json::value::RawValue;

use crate::fields::{FieldError, Fields, read};

pub(super) fn stdio_test(stdin: String, expected: String) -> StdioTest {
    StdioTest {
        stdin: stdin.into_bytes().into(),
        expected: expected.into_bytes().into(),
    }
}

/// A JSON value, every digit of its integers kept.
pub(super) fn value(raw: &RawValue, name: &str) -> Result<Value, FieldError> {
    Value::from_json(raw.get()).map_err(|reason| FieldError::new(name, reason))
}

/// A call test case whose arguments stand in one text, a JSON value a line, and whose result is
/// JSON in a text.
pub(super) fn call_test_of_texts(
    input: &str,
    output: &str,
    name: &str,
) -> Result<CallTest, FieldError> {
    let args = input
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            Value::from_json(line)
                .map_err(|reason| FieldError::new(name, format!("input: {reason}")))
        });
    Ok(CallTest {
        args: args.collect::<Result<_, _>>()?,
        expected: Value::from_json(output.trim())
            .map_err(|reason| FieldError::new(name, format!("output: {reason}")))?,
    })
}

/// An object that stands in a field as such, or as JSON in a string; `None` if the field is
/// missing, null or a blank string.
///
/// `unquoted` keeps the text of the second form alive for as long as the fields are used.
pub(super) fn object_or_json<'a>(
    row: &Fields<'a>,
    field: &str,
    unquoted: &'a mut String,
) -> Result<Option<Fields<'a>>, FieldError> {
    let Some(raw) = row.raw(field) else {
        return Ok(None);
    };
    let text = if raw.get().starts_with('"') {
        *unquoted = read(raw, || row.name(field))?;
        if unquoted.trim().is_empty() {
            return Ok(None);
        }
        unquoted.as_str()
    } else {
        raw.get()
    };
    Fields::parse_at(text, row.name(field)).map(Some)
}
