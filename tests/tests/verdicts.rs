//! The programs of `verdicts/*.txt` come to the verdicts that stand there; `workspace_tests::verdicts`
//! says how they are written.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use executor::{Sandbox, SandboxConfig};
use judge::{Event, InOrder, Judge, JudgeConfig, Submission, Verdict};
use workspace_tests::verdicts::{Case, cases};

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
        let submissions = group.iter().map(|&index| cases[index].submission());
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
    let few = cases.iter().take(20).map(|case| case.submission());
    judge.judge(few, &mut sink, None).expect("judged");
    ended.sort_unstable();
    assert_eq!(started, ended);
    assert_eq!(started, (0..20).collect::<Vec<u64>>());
}
