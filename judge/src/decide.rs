//! From facts to an error type: pure functions, no other place decides.
//!
//! The rules are SEMANTICS section 2, first hit wins. The type rests on how a run ended and on
//! what came out; standard error, which a program can forge, only ever names the subtype.

use executor::{LimitKind, Outcome};

use crate::ErrorType::{self, ApiError, RuntimeError, Success, SyntaxError, Timeout, WrongAnswer};
use crate::harness::{Ending, Family, Form, Raised, Record};
use crate::{Aggregate, Compare, Exception, TracebackContext, Value, classify_traceback};

/// What one test case comes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decision {
    pub(crate) error_type: ErrorType,
    pub(crate) subtype: Option<String>,
    pub(crate) exception: Option<Exception>,
}

impl Decision {
    pub(crate) fn success() -> Self {
        Self {
            error_type: Success,
            subtype: None,
            exception: None,
        }
    }

    pub(crate) fn new(error_type: ErrorType, subtype: impl Into<String>) -> Self {
        Self {
            error_type,
            subtype: Some(subtype.into()),
            exception: None,
        }
    }

    fn with(mut self, exception: Option<Exception>) -> Self {
        self.exception = exception;
        self
    }

    /// Names the module that the backend's interpreter lacks, if it is why the program failed: a
    /// reader must not take it for the program's mistake.
    pub(crate) fn for_lack_of(mut self, missing: &[String]) -> Self {
        let Some(exception) = self.exception.as_ref().filter(|exception| {
            self.error_type == RuntimeError && LACKING.contains(&exception.class.as_str())
        }) else {
            return self;
        };
        // A traceback on stderr gives no message here; it was read where the list was made.
        let named = |module: &&String| {
            exception.message.is_empty() || exception.message.contains(module.as_str())
        };
        if let Some(module) = missing.iter().find(named) {
            self.subtype = Some(format!("unsupported:{module}"));
        }
        self
    }
}

/// What is raised for want of a module, or of what it needs.
const LACKING: [&str; 4] = [
    "ModuleNotFoundError",
    "ImportError",
    "OSError",
    "RuntimeError",
];

/// How a run ended, if it did not end by itself with status 0.
pub(crate) fn abnormal(outcome: Outcome, stderr: &[u8]) -> Option<Decision> {
    match outcome {
        Outcome::Exited { code: 0 } => None,
        // Only an uncaught exception is known to give 1; with other statuses a traceback on
        // stderr tells of something that the program has handled.
        Outcome::Exited { code: 1 } => {
            let exception = exception_in(stderr);
            let subtype = match &exception {
                Some(exception) if exception.class == "MemoryError" => "memory_limit",
                Some(exception) => &exception.class,
                None => "nonzero_exit",
            };
            Some(Decision::new(RuntimeError, subtype).with(exception))
        }
        Outcome::Exited { .. } => Some(Decision::new(RuntimeError, "nonzero_exit")),
        Outcome::Signaled { signal } => Some(Decision::new(RuntimeError, signal_subtype(signal))),
        Outcome::LimitExceeded { limit } => Some(match limit {
            LimitKind::WallTime => Decision::new(Timeout, "wall"),
            LimitKind::CpuTime => Decision::new(Timeout, "cpu"),
            LimitKind::Memory => Decision::new(RuntimeError, "memory_limit"),
            LimitKind::Output => Decision::new(RuntimeError, "output_limit"),
        }),
        Outcome::CellLost => Some(Decision::new(RuntimeError, "cell_lost")),
    }
}

/// What a run that should have compiled the submission says about it: the form it was taken in, or
/// why it is a failure. `Err(None)` means that the harness itself failed, which is ours.
pub(crate) fn compiled(outcome: Outcome, records: &[Record]) -> Result<Form, Option<Decision>> {
    match records.first() {
        Some(Record::Compiled(form)) => Ok(*form),
        Some(Record::Rejected(raised)) => Err(Some(
            Decision::new(SyntaxError, &raised.class).with(Some(exception(raised))),
        )),
        _ => Err(match outcome {
            Outcome::LimitExceeded {
                limit: LimitKind::WallTime | LimitKind::CpuTime,
            } => Some(Decision::new(Timeout, "compile")),
            Outcome::LimitExceeded { .. } => Some(Decision::new(RuntimeError, "memory_limit")),
            Outcome::CellLost => Some(Decision::new(RuntimeError, "cell_lost")),
            Outcome::Signaled { signal } => {
                Some(Decision::new(SyntaxError, signal_subtype(signal)))
            }
            Outcome::Exited { .. } => None,
        }),
    }
}

/// The test cases of a `check` or `asserts` run, after it has compiled; `None` stands for skipped.
pub(crate) fn tested(
    outcome: Outcome,
    stderr: &[u8],
    records: &[Record],
    proofs: &[impl AsRef<[u8]>],
) -> Vec<Option<Decision>> {
    let mut cases: Vec<Option<Decision>> = Vec::with_capacity(proofs.len());
    let mut fatal = None;
    for record in records.iter().skip(1) {
        let Some(proof) = proofs.get(cases.len()) else {
            break;
        };
        match record {
            Record::Result {
                proof: shown,
                ending,
            } if shown == proof.as_ref() => {
                cases.push(Some(ended(ending)));
            }
            // A candidate without the proof could otherwise turn its failure into ours.
            Record::BadTests {
                proof: shown,
                message,
            } if shown == proof.as_ref() => {
                let exception = Exception {
                    message: message.clone(),
                    ..Exception::default()
                };
                let decision = Decision::new(ApiError, "bad_tests").with(Some(exception));
                return vec![Some(decision); proofs.len()];
            }
            Record::Fatal(ending) => {
                fatal = Some(ended(ending));
                break;
            }
            _ => break,
        }
    }
    let abnormal = abnormal(outcome, stderr);
    if cases.len() < proofs.len() {
        let early = || Decision::new(WrongAnswer, "early_exit");
        // A fatal ending without a failure in it is a forgery.
        let fatal = fatal.filter(|decision| decision.error_type != Success);
        cases.push(Some(abnormal.or(fatal).unwrap_or_else(early)));
        cases.resize(proofs.len(), None);
    } else if let (Some(last), Some(abnormal)) = (cases.last_mut(), abnormal) {
        *last = Some(abnormal);
    }
    cases
}

/// The result of a `call` run, after it has compiled. `Ok` is a value still to be compared.
pub(crate) fn called<'a>(
    outcome: Outcome,
    stderr: &[u8],
    records: &'a [Record],
) -> Result<&'a Value, Decision> {
    if let Some(decision) = abnormal(outcome, stderr) {
        return Err(decision);
    }
    match records.get(1) {
        Some(Record::Returned(value)) => Ok(value),
        Some(Record::Unserialisable(class)) => {
            let exception = Exception {
                class: class.clone(),
                ..Exception::default()
            };
            Err(Decision::new(WrongAnswer, "unserialisable").with(Some(exception)))
        }
        Some(Record::Fatal(ending) | Record::Call(ending)) if *ending != Ending::Ended => {
            let mut decision = ended(ending);
            // No assertion here is a test's.
            if decision.subtype.as_deref() == Some("assertion") {
                decision.error_type = RuntimeError;
                decision.subtype = decision.exception.as_ref().map(|e| e.class.clone());
            }
            Err(decision)
        }
        _ => Err(Decision::new(WrongAnswer, "early_exit")),
    }
}

/// Whether a returned value is the expected one.
pub(crate) fn values_match(compare: Compare, actual: &Value, expected: &Value) -> bool {
    match compare {
        Compare::Float { abs, rel } => actual.approx_eq(expected, abs, rel),
        _ => actual.python_eq(expected),
    }
}

fn ended(ending: &Ending) -> Decision {
    match ending {
        Ending::Ended => Decision::success(),
        Ending::Forged(class) => {
            let exception = Exception {
                class: class.clone(),
                ..Exception::default()
            };
            Decision::new(WrongAnswer, "forged_value").with(Some(exception))
        }
        Ending::Exit(0) => Decision::new(WrongAnswer, "early_exit"),
        Ending::Exit(_) => Decision::new(RuntimeError, "nonzero_exit"),
        Ending::Raised(raised) => {
            let decision = match raised.family {
                Family::Assertion if raised.in_tests => Decision::new(WrongAnswer, "assertion"),
                Family::Memory => Decision::new(RuntimeError, "memory_limit"),
                _ => Decision::new(RuntimeError, &raised.class),
            };
            decision.with(Some(exception(raised)))
        }
    }
}

/// What a stdio run printed, seen against what was expected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printed {
    /// Cut at the cap.
    pub(crate) truncated: bool,
    /// Nothing but white space.
    pub(crate) blank: bool,
    /// It is right.
    pub(crate) matches: bool,
}

/// A stdio test case whose output a comparison decides.
pub(crate) fn printed(outcome: Outcome, stderr: &[u8], output: Printed) -> Decision {
    if let Some(decision) = abnormal(outcome, stderr) {
        return decision;
    }
    match output {
        Printed {
            truncated: true, ..
        } => Decision::new(RuntimeError, "output_limit"),
        Printed { matches: true, .. } => Decision::success(),
        Printed { blank: true, .. } => Decision::new(WrongAnswer, "no_output"),
        _ => Decision::new(WrongAnswer, "wrong_output"),
    }
}

/// What a checker program said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckerAnswer {
    Accepts,
    Rejects,
    /// It crashed, ran out of a limit, or said itself that it failed.
    Fails,
}

/// Reads a checker's ending by the testlib convention. A Python checker that dies of an exception
/// exits with testlib's "wrong answer"; the traceback tells them apart.
pub(crate) fn checker_answer(outcome: Outcome, stderr: &[u8]) -> CheckerAnswer {
    match outcome {
        Outcome::Exited { code: 0 } => CheckerAnswer::Accepts,
        Outcome::Exited { code: 1 } if exception_in(stderr).is_some() => CheckerAnswer::Fails,
        // Wrong answer, presentation error, dirt, points (two spellings), unexpected end of file,
        // and 16 to 116: partial points.
        Outcome::Exited {
            code: 1 | 2 | 4 | 5 | 7 | 8 | 16..=116,
        } => CheckerAnswer::Rejects,
        _ => CheckerAnswer::Fails,
    }
}

/// A test case that a checker decides; `on_expected` is its answer on the expected output, asked
/// only when it failed on the submission's.
pub(crate) fn checked(
    answer: CheckerAnswer,
    blank: bool,
    on_expected: Option<CheckerAnswer>,
) -> Decision {
    match (answer, on_expected) {
        (CheckerAnswer::Accepts, _) => Decision::success(),
        (CheckerAnswer::Rejects, _) if blank => Decision::new(WrongAnswer, "no_output"),
        (CheckerAnswer::Rejects, _) => Decision::new(WrongAnswer, "wrong_output"),
        (CheckerAnswer::Fails, Some(CheckerAnswer::Accepts)) => {
            Decision::new(WrongAnswer, "checker_crash")
        }
        (CheckerAnswer::Fails, _) => Decision::new(ApiError, "checker"),
    }
}

/// The limits on how many failing test cases are looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) failures: Option<u32>,
    pub(crate) timeouts: Option<u32>,
}

impl Budget {
    /// How many test cases, in dataset order, count before the budget is spent. What parallel
    /// workers have run beyond that does not count, so their number cannot show.
    pub(crate) fn counted(&self, cases: impl Iterator<Item = ErrorType>) -> usize {
        let (mut failures, mut timeouts, mut counted) = (0, 0, 0);
        for error_type in cases {
            if self.failures.is_some_and(|most| failures >= most.max(1))
                || self.timeouts.is_some_and(|most| timeouts >= most.max(1))
            {
                break;
            }
            counted += 1;
            failures += u32::from(!matches!(error_type, Success | ApiError));
            timeouts += u32::from(error_type == Timeout);
        }
        counted
    }
}

/// Which of the counted test cases decides the problem; `None` if all of them pass.
pub(crate) fn deciding(aggregate: Aggregate, cases: &[ErrorType]) -> Option<usize> {
    let failing = cases
        .iter()
        .enumerate()
        .filter(|(_, kind)| **kind != Success);
    match aggregate {
        Aggregate::First => failing.map(|(index, _)| index).next(),
        // The first of the worst ones; our own failure outweighs all, since nothing is known then.
        Aggregate::Worst => failing
            .max_by_key(|&(index, kind)| (*kind, std::cmp::Reverse(index)))
            .map(|(index, _)| index),
    }
}

fn exception(raised: &Raised) -> Exception {
    Exception {
        class: raised.class.clone(),
        message: raised.message.clone(),
        line: (raised.line > 0).then_some(raised.line),
        in_tests: raised.in_tests,
    }
}

/// The exception whose traceback ends `stderr`.
fn exception_in(stderr: &[u8]) -> Option<Exception> {
    let found = classify_traceback(stderr, TracebackContext::default())?;
    Some(Exception {
        class: found.class,
        line: found.line.map(u64::from),
        ..Exception::default()
    })
}

fn signal_subtype(signal: i32) -> String {
    /// Linux names, the same on x86-64 and aarch64.
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let name = usize::try_from(signal)
        .ok()
        .and_then(|n| NAMES.get(n.wrapping_sub(1)));
    name.map_or_else(
        || format!("signal:{signal}"),
        |name| format!("signal:SIG{name}"),
    )
}

/// An outcome in the words of evidence.
pub(crate) fn outcome_words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Exited { code } => format!("exit:{code}"),
        Outcome::Signaled { signal } => signal_subtype(signal),
        Outcome::LimitExceeded { limit } => match limit {
            LimitKind::WallTime => "limit:wall_time",
            LimitKind::CpuTime => "limit:cpu_time",
            LimitKind::Memory => "limit:memory",
            LimitKind::Output => "limit:output",
        }
        .into(),
        Outcome::CellLost => "cell_lost".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_the_interpreter_is_named_and_nothing_else_is() {
        let failed = |class: &str, message: &str| {
            Decision::new(RuntimeError, class).with(Some(Exception {
                class: class.to_owned(),
                message: message.to_owned(),
                ..Exception::default()
            }))
        };
        let missing = ["socket".to_owned(), "numpy".to_owned()];
        for (decision, expected) in [
            (
                failed("ModuleNotFoundError", "No module named 'numpy'"),
                "unsupported:numpy",
            ),
            (failed("ModuleNotFoundError", ""), "unsupported:socket"),
            (
                failed("OSError", "this interpreter has no socket"),
                "unsupported:socket",
            ),
            (failed("OSError", "No such file"), "OSError"),
            (
                failed("ModuleNotFoundError", "No module named 'maths'"),
                "ModuleNotFoundError",
            ),
            (failed("ValueError", "numpy"), "ValueError"),
            (Decision::new(WrongAnswer, "wrong_output"), "wrong_output"),
        ] {
            let found = decision.clone().for_lack_of(&missing);
            assert_eq!(found.subtype.as_deref(), Some(expected), "{decision:?}");
            assert_eq!(decision.clone().for_lack_of(&[]), decision);
        }
    }
}
