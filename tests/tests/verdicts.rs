//! Programs with the verdicts that SEMANTICS section 2 gives them, as data (`verdicts/*.txt`).
//!
//! ```text
//! === name -> error_type[/subtype] [line N] [: type of each test case, `-` if none was run]
//! --- row {"limits": …}        more fields of the problem's row
//! --- config {"aggregate": …}  settings of the judge
//! --- needs 3.11               skipped on an older interpreter, or another processor
//! --- program                  the source; `base64` and `base64-repeat N TEXT` for odd bytes
//! ```
//!
//! A file's name begins with the kind. In place of a `program`: `completion` (stands alone or
//! continues the prompt), `continuation`, `empty`, `missing REASON`. Test cases are pairs of `stdin`
//! and `expected`, or `calls` (one JSON object a line), `asserts` (one a line, `\n` inside), `test`;
//! a kind has defaults for those that a case leaves out. A subtype `*` may be anything.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use executor::{Sandbox, SandboxConfig};
use judge::{
    Aggregate, Event, InOrder, Judge, JudgeConfig, Problem, Submission, SubmissionSource, Verdict,
};
use serde_json::{Map, Value, json};

struct Case {
    name: String,
    expected: Expected,
    config: JudgeConfig,
    needs: Option<String>,
    submission: Submission,
}

struct Expected {
    end: String,
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

    fn differs(&self, verdict: &Verdict) -> Option<String> {
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

fn cases() -> Vec<Case> {
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

fn b64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn case(kind: &str, name: String, expected: Expected, sections: &[Section<'_>]) -> Case {
    let mut row = defaults(kind);
    let mut config = JudgeConfig::default();
    let mut needs = None;
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
    let problem = Problem::from_row(&row.to_string()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let submission = Submission {
        problem: Arc::new(problem),
        sample: 0,
        source: source.unwrap_or_else(|| panic!("{name}: no program")),
        extraction: None,
        truncated: false,
    };
    Case {
        name,
        expected,
        config,
        needs,
        submission,
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

fn sandbox(slots: usize) -> Arc<Sandbox> {
    let config = SandboxConfig {
        slots: Some(slots),
        ..SandboxConfig::default()
    };
    Arc::new(Sandbox::new(config).expect("a sandbox"))
}

/// The cases that can be tried with this interpreter on this processor. A skip is loud, and a
/// failure where nothing may be skipped.
fn tried(sandbox: &Sandbox) -> Vec<Case> {
    let version = &sandbox.interpreter().version;
    let minor = |version: &str| {
        version
            .split('.')
            .nth(1)
            .and_then(|m| m.parse::<u32>().ok())
    };
    let (tried, skipped): (Vec<_>, Vec<_>) =
        cases()
            .into_iter()
            .partition(|case| match case.needs.as_deref() {
                None => true,
                Some("x86_64") => cfg!(target_arch = "x86_64"),
                Some(needed) => minor(version) >= minor(needed),
            });
    for case in &skipped {
        let needs = case.needs.as_deref().unwrap_or_default();
        eprintln!("skipped: {}: needs {needs}, here is {version}", case.name);
    }
    assert!(
        skipped.is_empty() || std::env::var_os("CI").is_none(),
        "CI skips nothing"
    );
    tried
}

/// Judges all cases; those with settings of their own by a judge of their own.
fn judge_all(cases: &[Case], sandbox: &Arc<Sandbox>, workers: usize) -> Vec<Verdict> {
    let mut verdicts: Vec<Option<Verdict>> = cases.iter().map(|_| None).collect();
    let plain = JudgeConfig::default();
    let (alike, apart): (Vec<usize>, Vec<usize>) = (0..cases.len()).partition(|&index| {
        let config = &cases[index].config;
        config.aggregate == plain.aggregate
            && config.stop_after_failures == plain.stop_after_failures
            && config.max_timeouts == plain.max_timeouts
    });
    for group in std::iter::once(alike).chain(apart.into_iter().map(|index| vec![index])) {
        let config = JudgeConfig {
            workers,
            ..cases[group[0]].config.clone()
        };
        let judge = Judge::new(config, sandbox.clone()).expect("a judge");
        let mut arrived = Vec::new();
        let mut sink = InOrder::new(|_: &Submission, verdict: Verdict| arrived.push(verdict));
        let submissions = group.iter().map(|&index| cases[index].submission.clone());
        let summary = judge.judge(submissions, &mut sink, None).expect("judged");
        assert_eq!(summary.abandoned, 0);
        assert_eq!(arrived.len(), group.len());
        for (index, verdict) in group.into_iter().zip(arrived) {
            verdicts[index] = Some(verdict);
        }
    }
    verdicts
        .into_iter()
        .map(|v| v.expect("a verdict"))
        .collect()
}

#[test]
fn every_program_gets_its_verdict() {
    let sandbox = sandbox(2);
    let cases = tried(&sandbox);
    assert!(cases.len() >= 90, "only {} programs found", cases.len());
    let mut wrong = String::new();
    for (case, verdict) in cases.iter().zip(judge_all(&cases, &sandbox, 2)) {
        if let Some(found) = case.expected.differs(&verdict) {
            let _ = writeln!(
                wrong,
                "{}\n  expected {}\n  found    {found}\n  {:?}",
                case.name, case.expected.end, verdict.evidence
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A verdict without what is measured.
fn lasting(verdict: &Verdict) -> String {
    let mut row = serde_json::to_value(verdict).expect("a row");
    for field in ["usage", "judge_time", "path", "cached", "near_limit"] {
        row.as_object_mut().expect("an object").remove(field);
    }
    for test in row["tests"].as_array_mut().expect("a list") {
        test.as_object_mut().expect("an object").remove("usage");
    }
    row.to_string()
}

/// Keeps every processor busy until it is dropped.
struct Load(Arc<AtomicBool>, Vec<std::thread::JoinHandle<()>>);

impl Load {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let spin = |stop: Arc<AtomicBool>| {
            move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
        };
        let handles = (0..threads)
            .map(|_| std::thread::spawn(spin(stop.clone())))
            .collect();
        Self(stop, handles)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        for handle in self.1.drain(..) {
            let _ = handle.join();
        }
    }
}

#[test]
fn neither_workers_nor_load_nor_order_show_in_a_verdict() {
    let one = sandbox(1);
    let mut cases = tried(&one);
    let mut calm: Vec<String> = judge_all(&cases, &one, 1).iter().map(lasting).collect();
    drop(one);
    // Backwards, three at once, on processors that have other work.
    cases.reverse();
    calm.reverse();
    let load = Load::start();
    let three = sandbox(3);
    let busy = judge_all(&cases, &three, 3);
    drop(load);
    let differ: Vec<String> = calm
        .iter()
        .zip(&busy)
        .filter(|(calm, busy)| **calm != lasting(busy))
        .map(|(calm, busy)| format!("{calm}\n{}", lasting(busy)))
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n\n"));
}

#[test]
fn every_error_type_and_the_common_subtypes_are_here() {
    let cases = cases();
    let ends: Vec<&str> = cases
        .iter()
        .map(|case| case.expected.end.as_str())
        .collect();
    for wanted in [
        "success",
        "wrong_answer/wrong_output",
        "wrong_answer/no_output",
        "wrong_answer/assertion",
        "wrong_answer/early_exit",
        "wrong_answer/forged_value",
        "wrong_answer/unserialisable",
        "wrong_answer/checker_crash",
        "syntax_error/SyntaxError",
        "syntax_error/no_code",
        "runtime_error/memory_limit",
        "runtime_error/output_limit",
        "runtime_error/nonzero_exit",
        "runtime_error/signal:SIGSEGV",
        "runtime_error/signal:SIGSYS",
        "timeout/wall",
        "timeout/cpu",
        "api_error/context_length",
        "api_error/checker",
    ] {
        assert!(ends.contains(&wanted), "no program shows {wanted}");
    }
}

#[test]
fn events_pair_up() {
    // Each submission that starts ends once, whatever becomes of it.
    let sandbox = sandbox(2);
    let cases = tried(&sandbox);
    let judge = Judge::new(JudgeConfig::default(), sandbox).expect("a judge");
    let (mut started, mut ended) = (Vec::new(), Vec::new());
    let mut sink = |event: Event<'_>| match event {
        Event::SubmissionStarted { seq, .. } => started.push(seq),
        Event::SubmissionFinished { seq, .. } | Event::SubmissionAbandoned { seq, .. } => {
            ended.push(seq);
        }
        Event::RunStarted { .. } | Event::RunFinished { .. } => {}
    };
    let few = cases.iter().take(20).map(|case| case.submission.clone());
    judge.judge(few, &mut sink, None).expect("judged");
    ended.sort_unstable();
    assert_eq!(started, ended);
    assert_eq!(started, (0..20).collect::<Vec<u64>>());
}
