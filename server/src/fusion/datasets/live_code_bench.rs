//! LiveCodeBench: many test cases, one program. The program gets the inputs only; what it answers
//! comes back through the report pipe and is compared here, so that no answer can be read inside.

use std::io::Read as _;

use judge::{Compare, Compat};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Fault;
use crate::fusion::extraction::strip;
use crate::fusion::languages::Language;
use crate::fusion::wire::RunCodeRequest;
use crate::text::{from_base64, to_base64};

/// Runs the cases inside the sandbox.
const DRIVER: &str = include_str!("live_code_bench.py");
/// Unpacked tests larger than this are no tests.
const LARGEST: u64 = 256 << 20;

/// The test cases of one row.
#[derive(Debug, Deserialize)]
pub(super) struct Tests {
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    #[serde(default)]
    fn_name: Option<String>,
}

/// What the driver says of one case.
#[derive(Deserialize)]
struct Said {
    /// What it printed, or its result as JSON.
    output: Option<String>,
}

impl Tests {
    /// Reads a row's `test`: JSON, or base64 of zlib of a pickle that holds it.
    pub(super) fn read(test: &Value) -> Result<Self, Fault> {
        let wrong = |why: String| Fault::Exception(format!("column 'test' cannot be read: {why}"));
        let outer = match test {
            Value::String(text) => match serde_json::from_str(text) {
                Ok(outer) => outer,
                Err(_) => unpickled(text).map_err(wrong)?,
            },
            other => other.clone(),
        };
        let inner = match &outer {
            Value::String(text) => serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?,
            other => other.clone(),
        };
        let inner = match inner.get("input_output") {
            Some(Value::String(text)) => {
                serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?
            }
            Some(other) => other.clone(),
            None => inner,
        };
        let tests: Self = serde_json::from_value(inner).map_err(|e| wrong(e.to_string()))?;
        if tests.inputs.len() != tests.outputs.len() {
            return Err(wrong("it has not as many outputs as inputs".to_owned()));
        }
        Ok(tests)
    }

    /// The program that runs `code` on every input, `each` seconds for one.
    pub(super) fn request(&self, code: &str, each: f64) -> RunCodeRequest {
        let cases = json!({
            "fn_name": self.fn_name, "inputs": self.inputs, "timeout": each.max(1.0),
        });
        let mut request = RunCodeRequest::new(DRIVER, Language::PYTHON);
        request.run_timeout = ((each + 1.0) * self.inputs.len() as f64 + 5.0).min(160.0);
        request.files = vec![
            (
                "cases.json".to_owned(),
                to_base64(cases.to_string().as_bytes()),
            ),
            ("code.py".to_owned(), to_base64(code.as_bytes())),
        ];
        request
    }

    /// The first case whose answer is not right, in words; `None` if all are.
    pub(super) fn first_wrong(&self, report: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(report);
        let mut said = text.lines();
        for (index, expected) in self.outputs.iter().enumerate() {
            let line = said
                .next()
                .and_then(|line| serde_json::from_str::<Said>(line).ok());
            let Some(Said {
                output: Some(output),
            }) = line
            else {
                return Some(format!("test case {index} has no answer"));
            };
            let right = match self.fn_name {
                Some(_) => value_is_right(&output, expected),
                None => text_is_right(&output, &joined(expected)),
            };
            if !right {
                return Some(format!("wrong answer on test case {index}"));
            }
        }
        None
    }
}

/// Lists of lines are texts, too.
fn joined(value: &Value) -> String {
    match value {
        Value::Array(lines) => lines.iter().map(joined).collect::<Vec<_>>().join("\n"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// As text, as lines, as numbers; at last as sets of tokens, line by line.
fn text_is_right(actual: &str, expected: &str) -> bool {
    if Compare::Compat(Compat::PrimeCode).matches(actual.as_bytes(), expected.as_bytes()) {
        return true;
    }
    let sets = |text: &str| -> Vec<std::collections::BTreeSet<String>> {
        text.lines()
            .filter(|line| !strip(line).is_empty())
            .map(|line| line.split_whitespace().map(str::to_owned).collect())
            .collect()
    };
    sets(actual) == sets(expected)
}

/// Equal as Python has it, or equal to the expected list's first element.
fn value_is_right(actual: &str, expected: &Value) -> bool {
    let expected = match expected {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let read = judge::Value::from_json;
    let (Ok(actual), Ok(expected)) = (read(actual), read(&expected)) else {
        return false;
    };
    if actual.python_eq(&expected) {
        return true;
    }
    matches!(&expected, judge::Value::List(items) if items.first().is_some_and(|first| actual.python_eq(first)))
}

/// The text, or the map of texts, that a packed pickle holds. Only the few instructions that these
/// need are understood: a pickle is a program, and this one comes from whoever sent the row.
fn unpickled(text: &str) -> Result<Value, String> {
    let packed = from_base64(text)?;
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(&packed[..])
        .take(LARGEST)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    let odd = || "it is a pickle of something else than texts".to_owned();
    let mut rest = &bytes[..];
    let mut stack: Vec<Value> = Vec::new();
    let take = |rest: &mut &[u8], n: usize| -> Result<Vec<u8>, String> {
        if rest.len() < n {
            return Err("the pickle breaks off".to_owned());
        }
        let (head, tail) = rest.split_at(n);
        *rest = tail;
        Ok(head.to_vec())
    };
    let length = |bytes: Vec<u8>| {
        bytes.iter().rev().fold(0_usize, |sum, byte| {
            sum.saturating_mul(256).saturating_add(usize::from(*byte))
        })
    };
    loop {
        let instruction = take(&mut rest, 1)?[0];
        match instruction {
            0x80 => drop(take(&mut rest, 1)?),
            0x95 => drop(take(&mut rest, 8)?),
            0x94 | b'(' => {}
            b'q' => drop(take(&mut rest, 1)?),
            b'r' => drop(take(&mut rest, 4)?),
            b'}' => stack.push(json!({})),
            0x8c | b'X' | 0x8d => {
                let width = match instruction {
                    0x8c => 1,
                    b'X' => 4,
                    _ => 8,
                };
                let size = length(take(&mut rest, width)?);
                let text = String::from_utf8(take(&mut rest, size)?).map_err(|_| odd())?;
                stack.push(text.into());
            }
            b's' | b'u' => {
                // SETITEMS comes with its pairs on the stack above the map.
                let first = stack.iter().position(Value::is_object).ok_or_else(odd)?;
                let pairs = stack.split_off(first + 1);
                let Some(Value::Object(map)) = stack.last_mut() else {
                    return Err(odd());
                };
                for pair in pairs.chunks(2) {
                    let [Value::String(name), value] = pair else {
                        return Err(odd());
                    };
                    map.insert(name.clone(), value.clone());
                }
            }
            b'.' => return stack.pop().ok_or_else(odd),
            _ => return Err(odd()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_compared_as_python_values() {
        for (actual, expected, right) in [
            ("3", "3", true),
            ("3.0", "3", true),
            ("true", "1", true),
            ("[1, 2]", "[1, 2]", true),
            ("1", "[1, 2]", true),
            ("2", "[1, 2]", false),
            ("\"a\"", "\"a\"", true),
            ("4", "3", false),
        ] {
            let expected = Value::String(expected.to_owned());
            assert_eq!(
                value_is_right(actual, &expected),
                right,
                "{actual} {expected}"
            );
        }
    }

    #[test]
    fn texts_are_compared_leniently() {
        for (actual, expected, right) in [
            ("YES\n", "YES", true),
            ("yes", "YES", false),
            ("1.00001\n", "1.00001000001\n", true),
            ("b a\n", "a b", true),
            ("a\nb", "b\na", false),
            ("", "x", false),
        ] {
            assert_eq!(
                text_is_right(actual, expected),
                right,
                "{actual:?} {expected:?}"
            );
        }
    }

    #[test]
    fn a_pickle_that_is_no_text_is_refused() {
        use std::io::Write as _;
        let pack = |bytes: &[u8]| {
            let mut packer =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(bytes).unwrap();
            to_base64(&packer.finish().unwrap())
        };
        // os.system("true"), as protocol 0 writes it.
        assert!(unpickled(&pack(b"cos\nsystem\n(S'true'\ntR.")).is_err());
        assert_eq!(
            unpickled(&pack(b"\x80\x04\x8c\x02hi\x94.")),
            Ok(json!("hi"))
        );
        assert!(unpickled(&pack(b"\x80\x04X\xff\xff\xff\xffhi")).is_err());
        assert!(unpickled("no base64 of anything").is_err());
    }
}
