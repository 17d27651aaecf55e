//! One task: the request that is made of it, the runs, and the facts they give.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use executor::{
    Cancel, InputFile, Isolation, Limits, Network, Outcome, Path, Program, RunReport, RunRequest,
    Runner, SandboxError, Usage,
};

use crate::decide::{self, CheckerAnswer, Decision, Printed};
use crate::harness::{self, Form, Harness, Job, Source};
use crate::settings::Rules;
use crate::verdict::{UsageRow, WasmEvidence};
use crate::{
    Checker, Compare, ErrorType, FirstDifference, StdioTest, Submission, Suite, first_difference,
};

/// Standard error shown as evidence, in bytes.
const STDERR_EXCERPT: usize = 2048;

/// A submission on its way, with what holds for it.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) submission: Arc<Submission>,
    pub(crate) rules: Rules,
    pub(crate) source: Source,
    /// The program compiled, once for all its test cases.
    pub(crate) code: Option<Arc<[u8]>>,
}

/// What a worker does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Compile the submission; run it, if it has one test case.
    Compile,
    /// Run it under all its tests in one run.
    Tests,
    /// Run it on one test case.
    Case(usize),
}

/// What a task has shown.
pub(crate) enum Facts {
    Compiled {
        form: Form,
        code: Option<Arc<[u8]>>,
    },
    NotCompiled(CaseFacts),
    Case(usize, CaseFacts),
    /// Every test case; the ones that could not be run are `None`.
    All {
        form: Form,
        cases: Vec<Option<CaseFacts>>,
    },
}

/// One test case, decided, with what the decision rests on.
#[derive(Clone, Debug)]
pub(crate) struct CaseFacts {
    pub(crate) decision: Decision,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) stderr: Option<String>,
    pub(crate) first_difference: Option<FirstDifference>,
    pub(crate) usage: Option<UsageRow>,
    /// stdio: what was printed.
    pub(crate) printed: Option<Printed>,
    /// What failed on our side.
    pub(crate) failure: Option<String>,
}

impl CaseFacts {
    /// Whether the submission failed here. Our own failure is no failure of it.
    pub(crate) fn fails(&self) -> bool {
        !matches!(
            self.decision.error_type,
            ErrorType::Success | ErrorType::ApiError
        )
    }

    fn of(decision: Decision, report: &RunReport) -> Self {
        // A limit ends a run at some moment; what stood on stderr by then is chance.
        let by_limit = matches!(
            report.outcome,
            Outcome::LimitExceeded { .. } | Outcome::CellLost
        );
        let decision = match &report.wasm {
            Some(wasm) => decision.for_lack_of(&wasm.missing),
            None => decision,
        };
        let shown = decision.error_type == ErrorType::RuntimeError && !by_limit;
        Self {
            decision,
            outcome: Some(report.outcome),
            stderr: (shown && !report.stderr.bytes.is_empty())
                .then(|| excerpt(&report.stderr.bytes)),
            first_difference: None,
            usage: None,
            printed: None,
            failure: None,
        }
    }
}

/// Sums over runs, for the verdict's measured fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunTally {
    pub(crate) runs: u64,
    pub(crate) wall_time: Duration,
    pub(crate) usage: UsageRow,
    pub(crate) near_limit: bool,
    pub(crate) cold: bool,
    pub(crate) warm: bool,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) native: bool,
    /// Of the runs that wasm made: their fuel together.
    pub(crate) wasm: Option<WasmEvidence>,
    /// A source that might have stood alone was taken as a continuation.
    pub(crate) continuation: bool,
}

impl RunTally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.wall_time += other.wall_time;
        self.usage.add(&other.usage);
        self.near_limit |= other.near_limit;
        self.cold |= other.cold;
        self.warm |= other.warm;
        self.isolation = other.isolation.or(self.isolation);
        self.native |= other.native;
        if let Some(other) = &other.wasm {
            self.add_wasm(other);
        }
        self.continuation |= other.continuation;
    }

    fn count(&mut self, report: &RunReport) {
        self.runs += 1;
        self.wall_time += report.usage.wall_time;
        self.usage.add(&UsageRow::from(&report.usage));
        self.cold |= report.path == Path::Cold;
        self.warm |= report.path == Path::Warm;
        self.isolation = Some(report.isolation);
        match &report.wasm {
            None => self.native = true,
            Some(wasm) => self.add_wasm(&WasmEvidence {
                fuel: wasm.fuel,
                fuel_per_second: wasm.fuel_per_second,
                module_sha256: wasm.module_sha256.to_string(),
                wasmtime: wasm.wasmtime.to_string(),
            }),
        }
    }

    fn add_wasm(&mut self, other: &WasmEvidence) {
        match &mut self.wasm {
            Some(wasm) => wasm.fuel = wasm.fuel.zip(other.fuel).map(|(a, b)| a + b),
            None => self.wasm = Some(other.clone()),
        }
    }

    /// The backend of the runs; `mixed` where the native one had to help out.
    pub(crate) fn backend(&self) -> Option<&'static str> {
        match (self.native, self.wasm.is_some()) {
            (false, false) => None,
            (true, false) => Some("native"),
            (false, true) => Some("wasm"),
            (true, true) => Some("mixed"),
        }
    }
}

/// A failure of ours: nothing is known about the submission.
#[derive(Debug)]
pub(crate) enum Failure {
    Sandbox(SandboxError),
    /// The harness ended without saying anything, before it ran any foreign code.
    Protocol(String),
}

impl Failure {
    /// Whether a repeat might go better.
    pub(crate) fn may_pass(&self) -> bool {
        !matches!(self, Self::Sandbox(SandboxError::InvalidRequest(_)))
    }

    pub(crate) fn into_facts(self, task: Task) -> Facts {
        let subtype = match &self {
            Self::Protocol(_) => "protocol",
            Self::Sandbox(SandboxError::CellSetup { .. }) => "cell_setup",
            Self::Sandbox(SandboxError::CellLost(_)) => "cell_lost",
            Self::Sandbox(SandboxError::InvalidRequest(_)) => "invalid_request",
            Self::Sandbox(_) => "sandbox",
        };
        let facts = CaseFacts {
            decision: Decision::new(ErrorType::ApiError, subtype),
            outcome: None,
            stderr: None,
            first_difference: None,
            usage: None,
            printed: None,
            failure: Some(self.to_string()),
        };
        match task {
            Task::Compile | Task::Tests => Facts::NotCompiled(facts),
            Task::Case(index) => Facts::Case(index, facts),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sandbox(error) => {
                write!(f, "{error}")?;
                let mut source = std::error::Error::source(error);
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
            Self::Protocol(what) => f.write_str(what),
        }
    }
}

/// What the runs of one task share.
struct Context<'a> {
    runner: &'a dyn Runner,
    network: Network,
    cancel: Option<&'a Cancel>,
    tally: &'a mut RunTally,
}

impl Context<'_> {
    fn run(&mut self, request: &RunRequest) -> Result<RunReport, Failure> {
        let report = self
            .runner
            .run_until(request, self.cancel)
            .map_err(Failure::Sandbox)?;
        self.tally.count(&report);
        Ok(report)
    }

    /// A run of the submission: its times can come near their limits.
    fn run_submission(&mut self, request: &RunRequest) -> Result<RunReport, Failure> {
        let report = self.run(request)?;
        // Fuel is the same everywhere: no run of wasm is near a limit by chance.
        self.tally.near_limit |=
            report.wasm.is_none() && near_limit(&report.usage, &request.limits);
        Ok(report)
    }
}

impl Work {
    /// Makes the runs of `task`, once each.
    pub(crate) fn run(
        &self,
        task: Task,
        runner: &dyn Runner,
        harness: &Harness,
        network: Network,
        cancel: Option<&Cancel>,
        tally: &mut RunTally,
    ) -> Result<Facts, Failure> {
        let mut context = Context {
            runner,
            network,
            cancel,
            tally,
        };
        match (task, &self.submission.problem.suite) {
            (
                Task::Compile,
                Suite::Stdio {
                    tests,
                    checker,
                    input_file,
                    output_file,
                },
            ) if tests.len() == 1 && self.is_text() => {
                // A run that ends well shows that the program compiles. What another one shows,
                // compiling decides.
                let files = (input_file.as_deref(), output_file.as_deref());
                let ran = self.run_program(&tests[0], checker.as_ref(), files, &mut context)?;
                let form = self.source.form;
                if ran.outcome != Some(Outcome::Exited { code: 0 }) {
                    let (_, report) =
                        self.run_harness(harness::Task::Compile, harness, &mut context)?;
                    let records = harness::records(&report.report);
                    if let Err(facts) = self.compiled(&report, &records)? {
                        return Ok(Facts::NotCompiled(facts));
                    }
                }
                let cases = vec![Some(ran)];
                Ok(Facts::All { form, cases })
            }
            (Task::Compile, _) => {
                let (_, report) =
                    self.run_harness(harness::Task::Compile, harness, &mut context)?;
                let records = harness::records(&report.report);
                Ok(match self.compiled(&report, &records)? {
                    Ok(form) => Facts::Compiled {
                        form,
                        code: code_of(&report, records),
                    },
                    Err(facts) => Facts::NotCompiled(facts),
                })
            }
            (Task::Tests, _) => {
                let (job, report) =
                    self.run_harness(harness::Task::Tests, harness, &mut context)?;
                let records = harness::records(&report.report);
                Ok(match self.compiled(&report, &records)? {
                    Err(facts) => Facts::NotCompiled(facts),
                    Ok(form) => {
                        let stderr = &report.stderr.bytes;
                        let cases = decide::tested(report.outcome, stderr, &records, &job.proofs);
                        let facts = |decision: Decision| CaseFacts::of(decision, &report);
                        let cases = cases.into_iter().map(|case| case.map(facts)).collect();
                        Facts::All { form, cases }
                    }
                })
            }
            (Task::Case(index), Suite::Call { tests, .. }) => {
                let call = harness::Task::Call(index, self.code.as_deref());
                let (_, report) = self.run_harness(call, harness, &mut context)?;
                let records = harness::records(&report.report);
                let mut facts = match self.compiled(&report, &records)? {
                    Err(facts) => facts,
                    Ok(_) => self.called(&report, &records, &tests[index].expected),
                };
                facts.usage = Some(UsageRow::from(&report.usage));
                Ok(Facts::Case(index, facts))
            }
            (
                Task::Case(index),
                Suite::Stdio {
                    tests,
                    checker,
                    input_file,
                    output_file,
                },
            ) => {
                let files = (input_file.as_deref(), output_file.as_deref());
                let facts =
                    self.run_program(&tests[index], checker.as_ref(), files, &mut context)?;
                Ok(Facts::Case(index, facts))
            }
            (Task::Case(_), Suite::Check { .. } | Suite::Asserts { .. }) => {
                unreachable!("these are run under all tests at once")
            }
        }
    }

    fn request(&self, context: &Context<'_>) -> RunRequest {
        let mut request = RunRequest::python(&b""[..]);
        request.limits = self.rules.limits.clone();
        request.network = context.network;
        request
    }

    /// Whether Python would take its bytes for source, whatever they are: it runs archives and
    /// compiled code, too, which no submission may be.
    fn is_text(&self) -> bool {
        !self.source.bytes.contains(&0)
    }

    fn run_harness(
        &self,
        task: harness::Task<'_>,
        harness: &Harness,
        context: &mut Context<'_>,
    ) -> Result<(Job, RunReport), Failure> {
        let problem = &self.submission.problem;
        let request = self.request(context);
        let job = harness
            .job(context.runner, problem, &self.source, task, request)
            .map_err(Failure::Sandbox)?;
        let report = context.run_submission(&job.request)?;
        Ok((job, report))
    }

    /// Whether a harness run got past compiling. The outer error is ours.
    fn compiled(
        &self,
        report: &RunReport,
        records: &[harness::Record],
    ) -> Result<Result<Form, CaseFacts>, Failure> {
        match decide::compiled(report.outcome, records) {
            Ok(form) => Ok(Ok(form)),
            Err(Some(decision)) => Ok(Err(CaseFacts::of(decision, report))),
            Err(None) => {
                let outcome = decide::outcome_words(report.outcome);
                let stderr = excerpt(&report.stderr.bytes);
                Err(Failure::Protocol(format!(
                    "the harness ended with {outcome}: {stderr}"
                )))
            }
        }
    }

    fn called(
        &self,
        report: &RunReport,
        records: &[harness::Record],
        expected: &crate::Value,
    ) -> CaseFacts {
        match decide::called(report.outcome, &report.stderr.bytes, records) {
            Err(decision) => CaseFacts::of(decision, report),
            Ok(actual) if decide::values_match(self.rules.compare, actual, expected) => {
                CaseFacts::of(Decision::success(), report)
            }
            Ok(actual) => {
                let decision = Decision::new(ErrorType::WrongAnswer, "wrong_output");
                let (actual, expected) = (actual.to_json(), expected.to_json());
                CaseFacts {
                    first_difference: first_difference(
                        &Compare::Exact,
                        actual.as_bytes(),
                        expected.as_bytes(),
                    ),
                    ..CaseFacts::of(decision, report)
                }
            }
        }
    }

    fn run_program(
        &self,
        test: &StdioTest,
        checker: Option<&Checker>,
        (input_file, output_file): (Option<&str>, Option<&str>),
        context: &mut Context<'_>,
    ) -> Result<CaseFacts, Failure> {
        let mut request = self.request(context);
        request.program = Program::Python {
            source: self.source.bytes.clone(),
            args: Vec::new(),
        };
        request.code = self.code.clone();
        match input_file {
            Some(name) => {
                request.files.push(InputFile {
                    path: name.into(),
                    content: test.stdin.clone(),
                });
            }
            None => request.stdin = test.stdin.clone(),
        }
        request.collect.extend(output_file.map(PathBuf::from));
        let mut report = context.run_submission(&request)?;
        let usage = UsageRow::from(&report.usage);
        let (output, truncated) = match output_file {
            // A file that was never written is an empty output.
            Some(_) => {
                let file = report.collected.pop();
                (file.map(|(_, content)| content).unwrap_or_default(), false)
            }
            None => (
                std::mem::take(&mut report.stdout.bytes),
                report.stdout.truncated,
            ),
        };
        let blank = output
            .iter()
            .all(|&byte| byte.is_ascii_whitespace() || byte == b'\x0b');
        let comparable = !truncated && !matches!(report.outcome, Outcome::LimitExceeded { .. });
        let clean = report.outcome == Outcome::Exited { code: 0 };
        let mut found = None;
        let mut printed = Printed {
            truncated,
            blank,
            matches: false,
        };
        let decision = match checker {
            Some(checker) if clean && comparable => {
                let decision = self.run_checker(checker, test, &output, blank, context)?;
                printed.matches = decision.error_type == ErrorType::Success;
                decision
            }
            Some(_) => decide::printed(report.outcome, &report.stderr.bytes, printed),
            None => {
                let compare = &self.rules.compare;
                printed.matches = comparable && compare.matches(&output, &test.expected);
                if clean && comparable && !printed.matches {
                    found = first_difference(compare, &output, &test.expected);
                }
                decide::printed(report.outcome, &report.stderr.bytes, printed)
            }
        };
        Ok(CaseFacts {
            first_difference: found,
            usage: Some(usage),
            printed: Some(printed),
            ..CaseFacts::of(decision, &report)
        })
    }

    fn run_checker(
        &self,
        checker: &Checker,
        test: &StdioTest,
        output: &[u8],
        blank: bool,
        context: &mut Context<'_>,
    ) -> Result<Decision, Failure> {
        let answer = ask_checker(checker, test, output.into(), context)?;
        let on_expected = match answer {
            CheckerAnswer::Fails => {
                Some(ask_checker(checker, test, test.expected.clone(), context)?)
            }
            _ => None,
        };
        Ok(decide::checked(answer, blank, on_expected))
    }
}

/// The code that a compile run has sent, for runs of the same interpreter. A program that is warned
/// about while it is compiled is compiled in every run, which shows the warning.
fn code_of(report: &RunReport, records: Vec<harness::Record>) -> Option<Arc<[u8]>> {
    if report.wasm.is_some() || report.stderr.bytes_total > 0 {
        return None;
    }
    records.into_iter().find_map(|record| match record {
        harness::Record::Code(code) => Some(code.into()),
        _ => None,
    })
}

/// Runs a checker, under the built-in limits: the problem's own are meant for submissions.
fn ask_checker(
    checker: &Checker,
    test: &StdioTest,
    output: Arc<[u8]>,
    context: &mut Context<'_>,
) -> Result<CheckerAnswer, Failure> {
    let file = |name: &str, content: Arc<[u8]>| InputFile {
        path: name.into(),
        content,
    };
    let mut request = RunRequest::python(checker.source.as_bytes());
    request.program = Program::Python {
        source: checker.source.as_bytes().into(),
        args: ["input.txt", "output.txt", "answer.txt"]
            .map(Into::into)
            .to_vec(),
    };
    request.files = vec![
        file("input.txt", test.stdin.clone()),
        file("output.txt", output),
        file("answer.txt", test.expected.clone()),
    ];
    let report = context.run(&request)?;
    Ok(decide::checker_answer(report.outcome, &report.stderr.bytes))
}

/// Whether a run used 80 % of a time limit.
fn near_limit(usage: &Usage, limits: &Limits) -> bool {
    usage.wall_time >= limits.wall_time.mul_f64(0.8)
        || usage.cpu_time() >= limits.cpu_time.mul_f64(0.8)
}

/// The end of a program's standard error, as text.
fn excerpt(stderr: &[u8]) -> String {
    let start = stderr.len().saturating_sub(STDERR_EXCERPT);
    String::from_utf8_lossy(&stderr[start..]).into_owned()
}
