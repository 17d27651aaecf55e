//! Programs with the verdicts that SEMANTICS section 2 gives them, as data (`verdicts/*.txt`).
//!
//! ```text
//! === name -> error_type[/subtype] [line N] [: type of each test case, `-` if none was run]
//! --- row {"limits": …}        more fields of the problem's row
//! --- config {"aggregate": …}  settings of the judge
//! --- needs 3.11               skipped on an older interpreter, or another processor
//! --- wasm api_error           what it comes to on the wasm backend, where that differs; or `not: REASON`
//! --- program                  the source; `base64` and `base64-repeat N TEXT` for odd bytes
//! ```
//!
//! A file's name begins with the kind. In place of a `program`: `completion` (stands alone or
//! continues the prompt), `continuation`, `empty`, `missing REASON`. Test cases are pairs of `stdin`
//! and `expected`, or `calls` (one JSON object a line), `asserts` (one a line, `\n` inside), `test`;
//! a kind has defaults for those that a case leaves out. A subtype `*` may be anything.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use judge::{Aggregate, JudgeConfig, Problem, Submission, SubmissionSource, Verdict};
use serde_json::{Map, Value, json};

/// One program with its verdict.
pub struct Case {
    /// File and name.
    pub name: String,
    /// What it must come to.
    pub expected: Expected,
    /// The same on the wasm backend: `None` where it has nothing to try there.
    pub on_wasm: Option<Expected>,
    /// Settings of the judge.
    pub config: JudgeConfig,
    /// The interpreter or processor without which it says nothing.
    pub needs: Option<String>,
    /// The problem as a native row.
    pub row: Value,
    /// The program.
    pub source: SubmissionSource,
}

/// A verdict, as far as a case states it.
#[derive(Clone, Debug)]
pub struct Expected {
    /// `error_type/subtype`.
    pub end: String,
    line: Option<u64>,
    tests: Option<Vec<String>>,
}

impl Expected {
    fn parse(text: &str) -> Self {
        let (head, tests) = match text.split_once(" : ") {
            Some((head, tests)) => (head, Some(tests)),
            None => (text, None),
        };
        let mut words = head.split_whitespace();
        let end = words.next().expect("an error type").to_owned();
        let line = (words.next() == Some("line"))
            .then(|| words.next().expect("a number").parse().expect("a number"));
        assert_eq!(words.next(), None, "not an expectation: {text}");
        let tests = tests.map(|tests| {
            let words = tests.split_whitespace().filter(|word| *word != "-");
            words.map(str::to_owned).collect()
        });
        Self { end, line, tests }
    }

    /// What was found instead; nothing if it is as expected.
    pub fn differs(&self, verdict: &Verdict) -> Option<String> {
        let end = end_of(
            verdict.error_type.as_str(),
            verdict.error_subtype.as_deref(),
        );
        let same = match self.end.strip_suffix("/*") {
            Some(error_type) => verdict.error_type.as_str() == error_type,
            None => self.end == end,
        };
        let exception = verdict.evidence.as_ref().and_then(|e| e.exception.as_ref());
        let line = exception.and_then(|exception| exception.line);
        let tests: Vec<String> = verdict
            .tests
            .iter()
            .map(|test| match test.error_type {
                Some(kind) => end_of(kind.as_str(), test.error_subtype.as_deref()),
                None => "skipped".to_owned(),
            })
            .collect();
        let tests_differ = self
            .tests
            .as_ref()
            .is_some_and(|expected| *expected != tests);
        let line_differs = self.line.is_some() && self.line != line;
        (!same || tests_differ || line_differs)
            .then(|| format!("{end} line {line:?} : {}", tests.join(" ")))
    }
}

fn end_of(error_type: &str, subtype: Option<&str>) -> String {
    subtype.map_or_else(|| error_type.to_owned(), |s| format!("{error_type}/{s}"))
}

/// One section of a case: its words after `---`, and its text.
type Section<'a> = (Vec<&'a str>, &'a str);

/// All cases, in the order of their files.
///
/// # Panics
///
/// A file is not as the head of this module says.
pub fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("verdicts");
    let mut files: Vec<_> = folder
        .read_dir()
        .expect("the folder of programs")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let stem = file
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&file).expect("a readable file");
        for part in format!("\n{text}").split("\n=== ").skip(1) {
            let (head, body) = part.split_once('\n').unwrap_or((part, ""));
            let (name, expected) = head.split_once(" -> ").expect(head);
            let sections = format!("\n{body}");
            let sections: Vec<Section<'_>> = sections
                .split("\n--- ")
                .skip(1)
                .map(|section| {
                    let (head, text) = section.split_once('\n').unwrap_or((section, ""));
                    let (name, rest) = head.split_once(' ').unwrap_or((head, ""));
                    let words = [name].into_iter().chain((!rest.is_empty()).then_some(rest));
                    (words.collect(), text)
                })
                .collect();
            let kind = stem.split('-').next().expect("a kind");
            let name = format!("{stem}: {name}");
            cases.push(case(kind, name, Expected::parse(expected), &sections));
        }
    }
    cases
}

fn bytes_of(section: &Section<'_>) -> Vec<u8> {
    let decode = |text: &str| {
        let text: String = text.split_whitespace().collect();
        let engine = base64::engine::general_purpose::STANDARD;
        engine.decode(text).expect("base64")
    };
    match section.0.get(1).copied() {
        None if section.1.is_empty() || section.1.ends_with('\n') => section.1.into(),
        None => format!("{}\n", section.1).into(),
        Some("base64") => decode(section.1),
        Some(how) => {
            let how = how.strip_prefix("base64-repeat ").expect("a known way");
            let (times, text) = how.split_once(' ').expect("a number and a text");
            decode(text).repeat(times.parse().expect("a number"))
        }
    }
}

fn text_of(section: &Section<'_>) -> String {
    String::from_utf8(bytes_of(section)).expect("text")
}

/// As rows have bytes that are no text.
pub fn b64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn case(kind: &str, name: String, expected: Expected, sections: &[Section<'_>]) -> Case {
    let mut row = defaults(kind);
    let mut config = JudgeConfig::default();
    let mut needs = None;
    let mut on_wasm = Some(expected.clone());
    let mut source = None;
    let mut tests = Vec::new();
    for section in sections {
        let argument = section.0.get(1).copied();
        match section.0[0] {
            "row" => {
                let more: Map<String, Value> =
                    serde_json::from_str(argument.expect("an object")).expect("JSON");
                for (key, value) in more {
                    // Single limits over the small defaults.
                    match (key.as_str(), value) {
                        ("limits", Value::Object(limits)) => row["limits"]
                            .as_object_mut()
                            .expect("limits")
                            .extend(limits),
                        (_, value) => row[key] = value,
                    }
                }
            }
            "config" => set(&mut config, argument.expect("an object")),
            "needs" => needs = argument.map(str::to_owned),
            "wasm" => {
                let text = argument.expect("an end");
                on_wasm = (!text.starts_with("not: ")).then(|| Expected::parse(text));
            }
            "stdin" => tests.push(json!({ "stdin_b64": b64(&bytes_of(section)) })),
            "expected" => {
                let test = tests.last_mut().expect("stdin before expected");
                test["expected_b64"] = b64(&bytes_of(section)).into();
            }
            "calls" => tests.extend(
                section
                    .1
                    .lines()
                    .map(|line| serde_json::from_str::<Value>(line).expect("JSON")),
            ),
            "asserts" => tests.extend(
                section
                    .1
                    .lines()
                    .map(|line| Value::from(line.replace("\\n", "\n"))),
            ),
            "test" | "setup" | "prompt" => row[section.0[0]] = text_of(section).into(),
            "checker" => row["checker"]["source"] = text_of(section).into(),
            "program" => source = Some(SubmissionSource::Program(bytes_of(section).into())),
            "completion" => {
                let bytes = bytes_of(section).into();
                source = Some(SubmissionSource::ProgramOrContinuation(bytes));
            }
            "continuation" => {
                source = Some(SubmissionSource::Continuation(bytes_of(section).into()));
            }
            "empty" => source = Some(SubmissionSource::Empty),
            "missing" => {
                let reason = argument.expect("a reason").to_owned();
                source = Some(SubmissionSource::Missing { reason });
            }
            other => panic!("{name}: unknown section {other}"),
        }
    }
    if !tests.is_empty() {
        row["tests"] = tests.into();
    }
    row["problem_id"] = name.clone().into();
    Case {
        source: source.unwrap_or_else(|| panic!("{name}: no program")),
        name,
        expected,
        on_wasm,
        config,
        needs,
        row,
    }
}

impl Case {
    /// The program as the judge takes it.
    ///
    /// # Panics
    ///
    /// The row is none.
    pub fn submission(&self) -> Submission {
        let problem = Problem::from_row(&self.row.to_string());
        let problem = problem.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        Submission {
            problem: Arc::new(problem),
            sample: 0,
            source: self.source.clone(),
            extraction: None,
            truncated: false,
        }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What a kind's problem is, unless a case says otherwise.
fn defaults(kind: &str) -> Value {
    let mut row = match kind {
        "stdio" => json!({ "tests": [{"stdin": "", "expected": "ok\n"}] }),
        "check" => json!({
            "prompt": "def f(x):\n",
            "entry_point": "f",
            "test": "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(-1) == 0\n",
        }),
        "asserts" => json!({
            "tests": ["assert f(1) == 1", "assert f(2) == 4", "assert f(3) == 9"],
        }),
        "call" => json!({
            "entry_point": "f",
            "tests": [{"args": [1, 2], "expected": 3}, {"args": [2, 3], "expected": 5}],
        }),
        // Two numbers whose sum is 7, in any order.
        "checker" => json!({
            "tests": [{"stdin": "7\n", "expected": "3 4\n"}],
            "checker": {
                "language": "python",
                "source": "import sys\n\
                    total = int(open(sys.argv[1]).read())\n\
                    words = open(sys.argv[2]).read().split()\n\
                    if len(words) != 2:\n    sys.exit(2)\n\
                    sys.exit(0 if sum(int(word) for word in words) == total else 1)\n",
            },
        }),
        other => panic!("no such kind: {other}"),
    };
    row["kind"] = kind.into();
    row["dataset"] = "verdicts".into();
    row["limits"] = json!({ "wall_time_ms": 10_000, "memory_bytes": 256 << 20 });
    row
}

fn set(config: &mut JudgeConfig, text: &str) {
    let settings: Map<String, Value> = serde_json::from_str(text).expect("JSON");
    let number =
        |value: &Value| Some(u32::try_from(value.as_u64().expect("a number")).expect("small"));
    for (key, value) in &settings {
        match key.as_str() {
            "aggregate" if value == "worst" => config.aggregate = Aggregate::Worst,
            "stop_after_failures" => config.stop_after_failures = number(value),
            "max_timeouts" => config.max_timeouts = number(value),
            other => panic!("unknown setting {other}"),
        }
    }
}
