//! Native problem rows: JSONL, one problem a line. Every dataset reader produces these.
//!
//! ```json
//! {"problem_id":"a","kind":"stdio","tests":[{"stdin":"1 2\n","expected":"3\n"}]}
//! {"problem_id":"b","kind":"check","entry_point":"f","prompt":"def f(x):\n","test":"def check(candidate):\n    assert candidate(1) == 2\n"}
//! {"problem_id":"c","kind":"asserts","tests":["assert f(1) == 2"],"setup":"","imports":["import math"]}
//! {"problem_id":"d","kind":"call","entry_point":"f","tests":[{"args":[1],"expected":2}]}
//! {"problem_id":"e","kind":"checker","tests":[…],"checker":{"source":"…","language":"python"}}
//! ```
//!
//! `stdin_b64` and `expected_b64` carry bytes that are no UTF-8. Optional everywhere: `dataset`,
//! `prompt`, `reference` (a source, or a list of sources), `compare`, `limits`, `source_limits`.
//! Optional by kind: `input_file` and `output_file` (stdio, checker), `calls_check` (check),
//! `entry_point`, `setup` and `imports` (asserts), `setup` (call). Keys that are not named here are ignored.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{CallTest, Checker, LimitOverrides, Problem, StdioTest, Suite, Value};

/// Why a row is no problem. Readers add file and line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: {reason}")]
pub struct RowError {
    /// The field, for example `tests[3].stdin`; `row` when the line is no JSON object.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl RowError {
    fn new(field: impl Into<String>, reason: impl ToString) -> Self {
        Self {
            field: field.into(),
            reason: reason.to_string(),
        }
    }
}

impl Problem {
    /// Reads one native row.
    ///
    /// # Errors
    ///
    /// The line is no JSON object, a required field is missing, a field has the wrong type or
    /// value, or there is no test case.
    pub fn from_row(line: &str) -> Result<Self, RowError> {
        let row = Object::parse(line, "")?;
        let kind: String = row.required("kind")?;
        let suite = match kind.as_str() {
            "stdio" | "checker" => stdio_suite(&row, kind == "checker")?,
            "check" => Suite::Check {
                entry_point: row.required("entry_point")?,
                test: row.required("test")?,
                calls_check: row.optional("calls_check")?.unwrap_or(false),
            },
            "asserts" => Suite::Asserts {
                setup: row.optional("setup")?.unwrap_or_default(),
                imports: row.optional("imports")?.unwrap_or_default(),
                tests: row.required("tests")?,
                entry_point: row.optional("entry_point")?,
            },
            "call" => Suite::Call {
                entry_point: row.required("entry_point")?,
                setup: row.optional("setup")?.unwrap_or_default(),
                tests: row.tests(|test| {
                    let args: Vec<&RawValue> = test.required("args")?;
                    let args = args.iter().enumerate().map(|(index, arg)| {
                        value(arg, || format!("{}[{index}]", test.name("args")))
                    });
                    Ok(CallTest {
                        args: args.collect::<Result<_, _>>()?,
                        expected: value(test.required("expected")?, || test.name("expected"))?,
                    })
                })?,
            },
            other => {
                let reason =
                    format!("unknown kind {other:?}; known: stdio, check, asserts, call, checker");
                return Err(RowError::new("kind", reason));
            }
        };
        if suite.test_count() == 0 {
            return Err(RowError::new(
                "tests",
                "a problem needs at least one test case",
            ));
        }
        let compare = match row.optional::<String>("compare")? {
            Some(mode) => Some(
                mode.parse()
                    .map_err(|error| RowError::new("compare", error))?,
            ),
            None => None,
        };
        let references = match row.optional::<OneOrMany>("reference")? {
            None => Vec::new(),
            Some(OneOrMany::One(source)) => vec![source],
            Some(OneOrMany::Many(sources)) => sources,
        };
        let limits_of = |field: &str| -> Result<LimitOverrides, RowError> {
            let limits: LimitOverrides = row.optional(field)?.unwrap_or_default();
            limits
                .check()
                .map_err(|(name, reason)| RowError::new(format!("{field}.{name}"), reason))?;
            Ok(limits)
        };
        Ok(Self {
            problem_id: row.required("problem_id")?,
            dataset: row.optional("dataset")?.unwrap_or_default(),
            prompt: row.optional("prompt")?.unwrap_or_default(),
            suite,
            compare,
            limits: limits_of("limits")?,
            source_limits: limits_of("source_limits")?,
            references,
        })
    }

    /// The problem as one native row, without a line break. [`Problem::from_row`] reads it back to
    /// an equal problem.
    pub fn to_row(&self) -> String {
        let mut row = Writer::default();
        row.text("problem_id", &self.problem_id);
        if !self.dataset.is_empty() {
            row.text("dataset", &self.dataset);
        }
        row.text("kind", self.suite.kind());
        if !self.prompt.is_empty() {
            row.text("prompt", &self.prompt);
        }
        match &self.suite {
            Suite::Stdio {
                tests,
                checker,
                input_file,
                output_file,
            } => {
                row.raw("tests", &list(tests.iter().map(stdio_test)));
                if let Some(checker) = checker {
                    let mut inner = Writer::default();
                    inner.text("source", &checker.source);
                    inner.text("language", &checker.language);
                    row.raw("checker", &inner.finish());
                }
                row.optional_text("input_file", input_file.as_deref());
                row.optional_text("output_file", output_file.as_deref());
            }
            Suite::Check {
                entry_point,
                test,
                calls_check,
            } => {
                row.text("entry_point", entry_point);
                row.text("test", test);
                if *calls_check {
                    row.raw("calls_check", "true");
                }
            }
            Suite::Asserts {
                setup,
                imports,
                tests,
                entry_point,
            } => {
                row.optional_text("entry_point", entry_point.as_deref());
                row.raw("tests", &list(tests.iter().map(json)));
                if !setup.is_empty() {
                    row.text("setup", setup);
                }
                if !imports.is_empty() {
                    row.raw("imports", &list(imports.iter().map(json)));
                }
            }
            Suite::Call {
                entry_point,
                setup,
                tests,
            } => {
                row.text("entry_point", entry_point);
                if !setup.is_empty() {
                    row.text("setup", setup);
                }
                row.raw(
                    "tests",
                    &list(tests.iter().map(|test| {
                        let mut inner = Writer::default();
                        inner.raw("args", &list(test.args.iter().map(Value::to_json)));
                        inner.raw("expected", &test.expected.to_json());
                        inner.finish()
                    })),
                );
            }
        }
        match self.references.as_slice() {
            [] => {}
            [one] => row.text("reference", one),
            many => row.raw("reference", &list(many.iter().map(json))),
        }
        row.optional_text(
            "compare",
            self.compare.map(|mode| mode.to_string()).as_deref(),
        );
        for (name, limits) in [
            ("limits", &self.limits),
            ("source_limits", &self.source_limits),
        ] {
            if *limits != Default::default() {
                row.raw(name, &json(limits));
            }
        }
        row.finish()
    }
}

fn stdio_suite(row: &Object<'_>, with_checker: bool) -> Result<Suite, RowError> {
    let checker = match row.optional::<&RawValue>("checker")? {
        None if with_checker => return Err(RowError::new("checker", "missing")),
        None => None,
        Some(_) if !with_checker => {
            return Err(RowError::new(
                "checker",
                "only rows of kind \"checker\" have one",
            ));
        }
        Some(text) => {
            let object = Object::parse(text.get(), "checker")?;
            let language: String = object.required("language")?;
            if !matches!(language.as_str(), "python" | "python3" | "py" | "py3") {
                let reason = format!("a checker runs as python, not {language:?}");
                return Err(RowError::new("checker.language", reason));
            }
            Some(Checker {
                source: object.required("source")?,
                language,
            })
        }
    };
    Ok(Suite::Stdio {
        tests: row.tests(|test| {
            Ok(StdioTest {
                stdin: test.bytes("stdin")?,
                expected: test.bytes("expected")?,
            })
        })?,
        checker,
        input_file: row.file_name("input_file")?,
        output_file: row.file_name("output_file")?,
    })
}

fn value(text: &RawValue, name: impl Fn() -> String) -> Result<Value, RowError> {
    Value::from_json(text.get()).map_err(|reason| RowError::new(name(), reason))
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a source text or a list of them")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A JSON object whose fields are read one at a time, so that an error can name its field.
struct Object<'a> {
    path: String,
    fields: HashMap<String, &'a RawValue>,
}

impl<'a> Object<'a> {
    fn parse(text: &'a str, path: &str) -> Result<Self, RowError> {
        let fields = serde_json::from_str(text).map_err(|error| {
            RowError::new(if path.is_empty() { "row" } else { path }, plain(&error))
        })?;
        Ok(Self {
            path: path.to_owned(),
            fields,
        })
    }

    fn name(&self, field: &str) -> String {
        if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        }
    }

    /// The field's value; `None` if it is missing or null.
    fn optional<T: Deserialize<'a>>(&self, field: &str) -> Result<Option<T>, RowError> {
        match self.fields.get(field) {
            None => Ok(None),
            Some(raw) if raw.get() == "null" => Ok(None),
            Some(raw) => read(raw)
                .map(Some)
                .map_err(|reason| RowError::new(self.name(field), reason)),
        }
    }

    fn required<T: Deserialize<'a>>(&self, field: &str) -> Result<T, RowError> {
        match self.fields.get(field) {
            Some(raw) => read(raw).map_err(|reason| RowError::new(self.name(field), reason)),
            None => Err(RowError::new(self.name(field), "missing")),
        }
    }

    fn tests<T>(
        &self,
        read: impl Fn(&Object<'a>) -> Result<T, RowError>,
    ) -> Result<Vec<T>, RowError> {
        let tests: Vec<&'a RawValue> = self.required("tests")?;
        tests
            .iter()
            .enumerate()
            .map(|(index, text)| read(&Object::parse(text.get(), &format!("tests[{index}]"))?))
            .collect()
    }

    /// `field` as text, or `field_b64` as base64.
    fn bytes(&self, field: &str) -> Result<Arc<[u8]>, RowError> {
        let coded = format!("{field}_b64");
        match (
            self.optional::<String>(field)?,
            self.optional::<String>(&coded)?,
        ) {
            (Some(_), Some(_)) => Err(RowError::new(
                self.name(field),
                format!("stands beside `{coded}`"),
            )),
            (Some(text), None) => Ok(text.into_bytes().into()),
            (None, Some(text)) => BASE64
                .decode(text)
                .map(Into::into)
                .map_err(|error| RowError::new(self.name(&coded), error)),
            (None, None) => Err(RowError::new(self.name(field), "missing")),
        }
    }

    /// A file's name in the working directory; blank means none.
    fn file_name(&self, field: &str) -> Result<Option<String>, RowError> {
        let name: Option<String> = self.optional(field)?;
        let name = name.filter(|name| !name.is_empty());
        match &name {
            Some(name) if name.contains(['/', '\0']) || name == "." || name == ".." => Err(
                RowError::new(self.name(field), format!("{name:?} is no plain file name")),
            ),
            Some(name) if name == "main.py" => Err(RowError::new(
                self.name(field),
                "main.py is the program itself",
            )),
            _ => Ok(name),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|error| plain(&error))
}

/// serde's message without its position, which would count from the field's start.
fn plain(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rfind(" at line ") {
        Some(at) => message[..at].to_owned(),
        None => message,
    }
}

fn stdio_test(test: &StdioTest) -> String {
    let mut inner = Writer::default();
    inner.bytes("stdin", &test.stdin);
    inner.bytes("expected", &test.expected);
    inner.finish()
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("texts and plain numbers always serialise")
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// Writes one JSON object, fields in the order of the calls.
#[derive(Default)]
struct Writer {
    out: String,
}

impl Writer {
    fn raw(&mut self, name: &str, json_text: &str) {
        self.out.push(if self.out.is_empty() { '{' } else { ',' });
        self.out.push_str(&json(name));
        self.out.push(':');
        self.out.push_str(json_text);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.raw(name, &json(text));
    }

    fn optional_text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text(name, text),
            Err(_) => self.text(&format!("{name}_b64"), &BASE64.encode(bytes)),
        }
    }

    fn finish(mut self) -> String {
        if self.out.is_empty() {
            self.out.push('{');
        }
        self.out.push('}');
        self.out
    }
}
