//! The judge's end of `harness.py`: what goes into a run of it, and what comes back.
//!
//! The protocol stands in one place per side: the job and the records here, their counterparts in
//! `harness.py`, whose opening page is the theory of operation.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::{Arc, OnceLock};

use executor::{Imports, Limits, Outcome, Program, Resident, RunRequest, Runner, SandboxError};

use crate::marshal::Marshal;
use crate::value::{MAX_DEPTH, canonical_int};
use crate::{Problem, Suite, Value};

/// The program that compiles submissions and runs function tasks.
pub(crate) const HARNESS: &str = include_str!("harness.py");

/// `main.py` of every harness run that has no resident harness. The harness arrives compiled:
/// compiling it takes longer than most submissions.
const BOOT: &str = "\
import marshal, os

def take(size):
    parts = []
    while size:
        part = os.read(0, size)
        if not part:
            os._exit(0)
        parts.append(part)
        size -= len(part)
    return b''.join(parts)

module = {'__name__': 'resident'}
exec(marshal.loads(take(int(take(8), 16))), module)
module['run']()
";

/// `main.py` of the one run that compiles the harness for the runner's interpreter.
const COMPILE_HARNESS: &str = "\
import marshal, sys
code = compile(sys.stdin.buffer.read(), 'harness.py', 'exec')
open(3, 'wb').write(marshal.dumps(code))
";

/// Size of one completion proof.
const PROOF_BYTES: usize = 16;

/// A submission's text, and how it relates to its problem's prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) form: Form,
}

/// Whether a source stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    Program,
    Continuation,
    /// Not known before the harness has looked.
    Either,
}

impl Form {
    fn as_str(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Continuation => "continuation",
            Self::Either => "either",
        }
    }
}

/// The harness, compiled for one interpreter, once.
#[derive(Default)]
pub(crate) struct Harness {
    boot: OnceLock<Arc<[u8]>>,
    code: OnceLock<Arc<[u8]>>,
}

/// A request for a harness run, and the proofs that its results must carry.
pub(crate) struct Job {
    pub(crate) request: RunRequest,
    pub(crate) proofs: Vec<[u8; PROOF_BYTES]>,
}

/// What a job does with its submission.
#[derive(Clone, Copy)]
pub(crate) enum Task<'a> {
    /// Compile it, nothing else.
    Compile,
    /// Run it under all its tests (`check`, `asserts`).
    Tests,
    /// Call it with the arguments of this test case (`call`), perhaps compiled already.
    Call(usize, Option<&'a [u8]>),
}

impl Harness {
    /// Makes the request for one job; `request` brings limits and network. The first one of a judge
    /// costs a run more.
    pub(crate) fn job(
        &self,
        runner: &dyn Runner,
        problem: &Problem,
        source: &Source,
        task: Task<'_>,
        mut request: RunRequest,
    ) -> Result<Job, SandboxError> {
        let code = self.code(runner)?;
        let mut stdin = Vec::with_capacity(code.len() + source.bytes.len() + 4096);
        push_block(&mut stdin, code);
        let script = runner.interpreter().script();
        push_block(&mut stdin, &job_object(problem, source, task, script));
        let mut proofs = Vec::new();
        if let (Task::Tests, Some(tests)) = (task, tests_object(problem)) {
            push_block(&mut stdin, &tests);
            proofs = fresh_proofs(problem.suite.test_count()).map_err(|source| {
                SandboxError::System {
                    what: "reading /dev/urandom",
                    source,
                }
            })?;
            stdin.extend(proofs.iter().flatten());
        }
        request.program = Program::Python {
            source: self.boot.get_or_init(|| BOOT.as_bytes().into()).clone(),
            args: Vec::new(),
        };
        request.stdin = stdin.into();
        // The program is ours; what it will import stands in what it is given.
        let tests = suite_texts(&problem.suite);
        request.sources = vec![source.bytes.clone(), problem.prompt.as_bytes().into()];
        let texts = tests.iter().map(|text| text.as_bytes().into());
        request.sources.extend(texts);
        request.imports = Some(Imports::of(request.sources.iter().map(|text| &**text)));
        request.report_pipe = true;
        request.resident = Some(Resident {
            code: code.clone(),
            stdin_bytes: BLOCK_HEAD + code.len(),
        });
        Ok(Job { request, proofs })
    }

    fn code(&self, runner: &dyn Runner) -> Result<&Arc<[u8]>, SandboxError> {
        if let Some(code) = self.code.get() {
            return Ok(code);
        }
        let mut request = RunRequest::python(COMPILE_HARNESS.as_bytes());
        request.stdin = HARNESS.as_bytes().into();
        request.report_pipe = true;
        request.limits = Limits::default();
        let report = runner.run(&request)?;
        if report.outcome != (Outcome::Exited { code: 0 }) || report.report.is_empty() {
            // The program is ours: whatever went wrong, no submission is to blame.
            let reason = format!(
                "it cannot compile the test harness: {:?}; {}",
                report.outcome,
                String::from_utf8_lossy(&report.stderr.bytes).trim()
            );
            let path = runner.interpreter().executable.clone();
            return Err(SandboxError::Interpreter { path, reason });
        }
        Ok(self.code.get_or_init(|| report.report.into()))
    }
}

/// The texts of a suite that are run beside the submission.
fn suite_texts(suite: &Suite) -> Vec<&str> {
    match suite {
        Suite::Stdio { .. } => Vec::new(),
        Suite::Check { test, .. } => vec![test],
        Suite::Asserts {
            setup,
            imports,
            tests,
            ..
        } => std::iter::once(setup)
            .chain(imports)
            .chain(tests)
            .map(String::as_str)
            .collect(),
        Suite::Call { setup, .. } => vec![setup],
    }
}

/// Digits of a block's length.
const BLOCK_HEAD: usize = 8;

fn push_block(out: &mut Vec<u8>, block: &[u8]) {
    out.extend_from_slice(format!("{:08x}", block.len()).as_bytes());
    out.extend_from_slice(block);
}

fn fresh_proofs(count: usize) -> io::Result<Vec<[u8; PROOF_BYTES]>> {
    let mut proofs = vec![[0; PROOF_BYTES]; count];
    let mut random = File::open("/dev/urandom")?;
    proofs
        .iter_mut()
        .try_for_each(|proof| random.read_exact(proof))?;
    Ok(proofs)
}

fn job_object(problem: &Problem, source: &Source, task: Task<'_>, script: &str) -> Vec<u8> {
    let (kind, entry_point, setup, tests): (_, _, _, Vec<&str>) = match &problem.suite {
        Suite::Stdio { .. } => ("compile", None, "", Vec::new()),
        Suite::Check {
            entry_point, test, ..
        } => ("check", Some(entry_point.as_str()), "", vec![test.as_str()]),
        Suite::Asserts {
            setup,
            imports,
            tests,
            entry_point,
        } => {
            let texts = std::iter::once(setup).chain(imports).chain(tests);
            (
                "asserts",
                entry_point.as_deref(),
                "",
                texts.map(String::as_str).collect(),
            )
        }
        Suite::Call {
            entry_point, setup, ..
        } => (
            "call",
            Some(entry_point.as_str()),
            setup.as_str(),
            Vec::new(),
        ),
    };
    let head = matches!(problem.suite, Suite::Check { .. }) && !problem.prompt.trim().is_empty();
    let with_prompt = head || source.form != Form::Program;
    let random = std::iter::once(&*source.bytes)
        .chain(tests.iter().map(|text| text.as_bytes()))
        .chain([problem.prompt.as_bytes(), setup.as_bytes()])
        .any(|text| text.windows(6).any(|window| window == b"random"));
    let modules = imported_modules(&tests);
    Marshal::dict(|object| {
        let kind = if matches!(task, Task::Compile) {
            "compile"
        } else {
            kind
        };
        object.key("kind").text(kind.as_bytes());
        object.key("form").text(source.form.as_str().as_bytes());
        object.key("source").bytes(&source.bytes);
        match task {
            Task::Call(_, Some(code)) => object.key("code").bytes(code),
            _ => object.key("code").none(),
        }
        object.key("prompt").bytes(if with_prompt {
            problem.prompt.as_bytes()
        } else {
            b""
        });
        match entry_point {
            Some(name) => object.key("entry_point").text(name.as_bytes()),
            None => object.key("entry_point").none(),
        }
        // A program is compiled once, under the name that its runs will have.
        match problem.suite {
            Suite::Stdio { .. } => object.key("script").text(script.as_bytes()),
            _ => object.key("script").none(),
        }
        object.key("head").bool(head);
        object.key("setup").text(setup.as_bytes());
        object
            .key("modules")
            .texts(modules.iter().map(String::as_str));
        object.key("random").bool(random);
        let args = match (&problem.suite, task) {
            (Suite::Call { tests, .. }, Task::Call(index, _)) => tests[index].args.as_slice(),
            _ => &[],
        };
        object.key("args").values(args);
    })
}

fn tests_object(problem: &Problem) -> Option<Vec<u8>> {
    let (before, cases, calls) = match &problem.suite {
        Suite::Check {
            test, calls_check, ..
        } => (Vec::new(), std::slice::from_ref(test), !calls_check),
        Suite::Asserts {
            setup,
            imports,
            tests,
            ..
        } => {
            let mut before = Vec::new();
            if !setup.trim().is_empty() {
                before.push(setup.clone());
            }
            if !imports.is_empty() {
                before.push(imports.join("\n"));
            }
            (before, tests.as_slice(), false)
        }
        Suite::Stdio { .. } | Suite::Call { .. } => return None,
    };
    let public = public_names(problem);
    Some(Marshal::dict(|object| {
        object
            .key("before")
            .texts(before.iter().map(String::as_str));
        object.key("cases").texts(cases.iter().map(String::as_str));
        object.key("calls").bool(calls);
        object
            .key("public")
            .texts(public.iter().map(String::as_str));
    }))
}

/// Names that a submission may define although a builtin is called so (MBPP asks for a `sum`):
/// the entry point, and what the dataset's own solutions define.
pub(crate) fn public_names(problem: &Problem) -> Vec<String> {
    let mut names: Vec<String> = match &problem.suite {
        Suite::Check { entry_point, .. } | Suite::Call { entry_point, .. } => {
            vec![entry_point.clone()]
        }
        Suite::Asserts { entry_point, .. } => entry_point.iter().cloned().collect(),
        Suite::Stdio { .. } => Vec::new(),
    };
    for line in problem.references.iter().flat_map(|source| source.lines()) {
        let Some(rest) = line
            .strip_prefix("def ")
            .or_else(|| line.strip_prefix("class "))
        else {
            continue;
        };
        let rest = rest.trim_start();
        let end = rest
            .find(|c: char| c != '_' && !c.is_alphanumeric())
            .unwrap_or(rest.len());
        if end > 0 && !names.iter().any(|name| name == &rest[..end]) {
            names.push(rest[..end].to_owned());
        }
    }
    names
}

/// Modules that the tests import, or use by the name `math` without importing it; the tests get
/// them as they were before the submission ran.
fn imported_modules(tests: &[&str]) -> Vec<String> {
    let mut modules: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        let name = name.trim();
        let plain = |c: char| c == '_' || c == '.' || c.is_alphanumeric();
        if !name.is_empty() && name.chars().all(plain) && !modules.iter().any(|m| m == name) {
            modules.push(name.to_owned());
        }
    };
    for statement in tests.iter().flat_map(|text| text.split(['\n', ';'])) {
        let statement = statement.trim();
        if let Some(rest) = statement.strip_prefix("from ") {
            add(rest.split_whitespace().next().unwrap_or_default());
        } else if let Some(rest) = statement.strip_prefix("import ") {
            for part in rest.split(',') {
                add(part.split_whitespace().next().unwrap_or_default());
            }
        } else if statement.contains("math.") {
            add("math");
        }
    }
    modules
}

/// What a harness run said. Everything after `compiled` may be forged by the submission; a result
/// counts only with the proof its test demanded.
#[derive(Debug, PartialEq)]
pub(crate) enum Record {
    /// The submission does not compile.
    Rejected(Raised),
    /// It does; it was taken in this form.
    Compiled(Form),
    /// Its code, marshalled. Nothing of the submission has run when this is sent.
    Code(Vec<u8>),
    /// Nothing could be tested: the module level, or the tests' setup, ended like this.
    Fatal(Ending),
    /// The next test case ended like this.
    Result { proof: Vec<u8>, ending: Ending },
    /// The tests do not compile.
    BadTests { proof: Vec<u8>, message: String },
    /// A call ended without a value, like this.
    Call(Ending),
    /// A call returned this.
    Returned(Value),
    /// A call returned something that is no JSON value: its class.
    Unserialisable(String),
}

/// How a piece of foreign code ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It ran to its end.
    Ended,
    /// It returned an object of this class, which brings its own operators.
    Forged(String),
    /// It raised SystemExit; the status a program would have had.
    Exit(u8),
    /// It raised.
    Raised(Raised),
}

/// An exception caught by the harness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Raised {
    pub(crate) in_tests: bool,
    pub(crate) family: Family,
    pub(crate) class: String,
    pub(crate) line: u64,
    pub(crate) message: String,
}

/// What kind of exception a class is, by inheritance rather than by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Family {
    Assertion,
    Memory,
    #[default]
    Other,
}

/// Reads what came through the report pipe; stops at the first thing that is no record.
pub(crate) fn records(report: &[u8]) -> Vec<Record> {
    let mut rest = report;
    let mut records = Vec::new();
    while let Some(record) = netstring(&mut rest).and_then(record) {
        records.push(record);
    }
    records
}

fn netstring<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let colon = rest.iter().take(12).position(|&byte| byte == b':')?;
    let length: usize = std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?;
    let body = rest.get(colon + 1..)?.get(..length)?;
    let after = rest.get(colon + 1 + length..)?.strip_prefix(b",")?;
    *rest = after;
    Some(body)
}

fn record(mut body: &[u8]) -> Option<Record> {
    let mut fields = Vec::new();
    while !body.is_empty() {
        fields.push(netstring(&mut body)?);
    }
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    match fields.as_slice() {
        [b"rejected", class, line, message] => Some(Record::Rejected(Raised {
            class: text(class),
            line: number(line)?,
            message: text(message),
            ..Raised::default()
        })),
        [b"compiled", b"program"] => Some(Record::Compiled(Form::Program)),
        [b"compiled", b"continuation"] => Some(Record::Compiled(Form::Continuation)),
        [b"code", code] => Some(Record::Code(code.to_vec())),
        [b"fatal", how @ ..] => ending(how).map(Record::Fatal),
        [b"result", proof, how @ ..] => Some(Record::Result {
            proof: proof.to_vec(),
            ending: ending(how)?,
        }),
        [b"bad tests", proof, message] => Some(Record::BadTests {
            proof: proof.to_vec(),
            message: text(message),
        }),
        [b"returned", value] => returned(value).map(Record::Returned),
        [b"unserialisable", class] => Some(Record::Unserialisable(text(class))),
        how => ending(how).map(Record::Call),
    }
}

fn ending(fields: &[&[u8]]) -> Option<Ending> {
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    match *fields {
        [b"ended"] => Some(Ending::Ended),
        [b"forged", class] => Some(Ending::Forged(text(class))),
        [b"exit", code] => number(code)?.try_into().ok().map(Ending::Exit),
        [b"raised", place, family, class, line, message] => Some(Ending::Raised(Raised {
            in_tests: place == b"tests",
            family: match family {
                b"assertion" => Family::Assertion,
                b"memory" => Family::Memory,
                _ => Family::Other,
            },
            class: text(class),
            line: number(line)?,
            message: text(message),
        })),
        _ => None,
    }
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Reads a value as the harness's `encode` writes it.
fn returned(mut rest: &[u8]) -> Option<Value> {
    let value = wire_value(&mut rest, 0)?;
    rest.is_empty().then_some(value)
}

fn wire_value(rest: &mut &[u8], depth: usize) -> Option<Value> {
    if depth > MAX_DEPTH {
        return None;
    }
    let (&tag, after) = rest.split_first()?;
    *rest = after;
    match tag {
        b'N' => Some(Value::Null),
        b'T' => Some(Value::Bool(true)),
        b'F' => Some(Value::Bool(false)),
        b'i' => {
            let digits = until(rest, b';')?;
            let magnitude = digits.strip_prefix('-').unwrap_or(digits);
            let decimal = !magnitude.is_empty() && magnitude.bytes().all(|b| b.is_ascii_digit());
            decimal.then(|| Value::Int(canonical_int(digits)))
        }
        b'f' => until(rest, b';')?.parse().ok().map(Value::Float),
        b's' => wire_text(rest).map(Value::Text),
        b'[' => {
            let mut items = Vec::new();
            loop {
                if let Some(after) = rest.strip_prefix(b"]") {
                    *rest = after;
                    return Some(Value::List(items));
                }
                items.push(wire_value(rest, depth + 1)?);
            }
        }
        b'{' => {
            let mut entries = Vec::new();
            loop {
                if let Some(after) = rest.strip_prefix(b"}") {
                    *rest = after;
                    return Some(Value::dict(entries));
                }
                *rest = rest.strip_prefix(b"s")?;
                let key = wire_text(rest)?;
                entries.push((key, wire_value(rest, depth + 1)?));
            }
        }
        _ => None,
    }
}

fn wire_text(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length: usize = until(rest, b':')?.parse().ok()?;
    let text = rest.get(..length)?.to_vec();
    *rest = &rest[length..];
    Some(text)
}

fn until<'a>(rest: &mut &'a [u8], end: u8) -> Option<&'a str> {
    let at = rest.iter().position(|&byte| byte == end)?;
    let text = std::str::from_utf8(&rest[..at]).ok()?;
    *rest = &rest[at + 1..];
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_records_and_stops_at_the_first_forgery_that_is_none() {
        let report = b"21:8:compiled,7:program,,\
            72:8:returned,57:{s1:1[i1;f2.5;Ns4:a\xed\xa0\x80i1000000000000000000000000000000;]},,\
            83:6:result,16:0123456789abcdef,6:raised,5:tests,9:assertion,14:AssertionError,1:2,0:,,\
            oops 5:5:ended,,";
        let report: Vec<u8> = report
            .iter()
            .copied()
            .filter(|byte| *byte != b' ')
            .collect();
        let records = records(&report);
        assert_eq!(records.len(), 3);
        assert_eq!(records[0], Record::Compiled(Form::Program));
        let expected = r#"{"1":[1,2.5,null,"a\ud800",1000000000000000000000000000000]}"#;
        assert_eq!(
            records[1],
            Record::Returned(Value::from_json(expected).unwrap())
        );
        let Record::Result {
            ending: Ending::Raised(raised),
            ..
        } = &records[2]
        else {
            panic!("{records:?}");
        };
        assert!(raised.in_tests && raised.family == Family::Assertion && raised.line == 2);
    }

    #[test]
    fn hostile_reports_do_no_harm() {
        let deep = format!(
            "{}:8:returned,{}:{},,",
            100_021,
            100_000,
            "[".repeat(100_000)
        );
        for report in [
            &b""[..],
            b"99999999999:x",
            b"18446744073709551615:x,",
            b"5:5:ended,",
            b"3:1:x,,",
            b"15:8:returned,1:i,,",
            b"18:8:returned,4:s99:,,",
            b"16:8:returned,2:[],x",
            b"21:8:returned,7:i1e999;,,",
            deep.as_bytes(),
        ] {
            assert_eq!(
                records(report),
                [],
                "case: {:?}",
                String::from_utf8_lossy(report)
            );
        }
    }

    #[test]
    fn finds_what_tests_import_and_what_they_may_call() {
        let tests = [
            "import math, os.path as p\nfrom a.b import c",
            "assert f(1); import re",
        ];
        assert_eq!(imported_modules(&tests), ["math", "os.path", "a.b", "re"]);
        assert_eq!(
            imported_modules(&["assert math.isclose(f(1), 2)"]),
            ["math"]
        );
        let row = r#"{"problem_id":"a","kind":"asserts","tests":["assert sum(1, 2) == 3"],
            "reference":"def helper(x):\n    def inner(): pass\nclass Pair(object): pass\ndef sum (a, b):\n  return a + b"}"#;
        let problem = Problem::from_row(row).unwrap();
        assert_eq!(public_names(&problem), ["helper", "Pair", "sum"]);
    }
}
