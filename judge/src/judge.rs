//! Judges a stream of submissions on many threads.
//!
//! # Theory of operation
//!
//!   caller's thread (feeder)      open submissions          workers (threads)
//!     | -- takes the next one ------->|                          |
//!     |    while the window is open   |<-- picks a task ---------|
//!     |                               |    one run, no lock held |
//!     |                               |<-- facts ----------------|
//!     |                               |    the last one decides: |
//!     |<------- room in the window ---|--> verdict -> sink       |
//!
//! A task is one run: compile a submission, run it on one test case, or (function tasks) run it
//! under all its tests. Workers pick test cases, not submissions, and prefer the submission that
//! has the fewest runs going on: a slow one never idles the others, and little is run in vain when
//! its budget of timeouts is spent. What is run in vain is not counted, so that neither the number
//! of workers nor their luck shows in a verdict.
//!
//! Memory is flat: at most `2 * workers + 2` submissions are open, only `workers + 1` where their
//! problems are large, and none is started more than 1,024 places behind one that is not finished.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use executor::{Cancel, Runner, SandboxError};

use crate::cache::{Cache, Key};
use crate::decide::Decision;
use crate::harness::{Form, Harness, Source};
use crate::run::{CaseFacts, Facts, Failure, RunTally, Task, Work};
use crate::settings::{IntegrityRequest, JudgeConfig, Rules};
use crate::verdict_of::{Judged, verdict_of};
use crate::{
    ErrorType, Event, EventSink, Integrity, JudgeError, Problem, Submission, SubmissionSource,
    Suite, Verdict,
};

/// How far the stream may run ahead of its slowest submission.
const MAX_LEAD: u64 = 1024;
/// Open problems larger than this together get a narrower window.
const OPEN_BYTES: usize = 32 << 20;
/// How often waiting threads look whether they were cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// Decides whether submissions are right. Share it between threads.
pub struct Judge {
    config: JudgeConfig,
    runner: Arc<dyn Runner>,
    harness: Arc<Harness>,
    cache: Option<Cache>,
}

/// What [`Judge::judge`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Submissions judged.
    pub judged: u64,
    /// Of these, known already.
    pub cached: u64,
    /// Of these, failed by us.
    pub api_errors: u64,
    /// Runs made, repeats included.
    pub runs: u64,
    /// Submissions given up because judging was cancelled.
    pub abandoned: u64,
    /// Verdicts that could not be written to the cache folder.
    pub cache_failures: u64,
}

impl Judge {
    /// A judge whose runs are made by `runner`. Runs nothing yet.
    ///
    /// # Errors
    ///
    /// The cache folder cannot be made.
    pub fn new(config: JudgeConfig, runner: Arc<dyn Runner>) -> Result<Self, JudgeError> {
        let cache = Cache::open(&config, &*runner)?;
        Ok(Self {
            config,
            runner,
            harness: Arc::default(),
            cache,
        })
    }

    /// A judge with other settings that shares this one's cache of verdicts, and makes its runs
    /// through another runner of the same kind (same backend, isolation and interpreter: one that
    /// queues for this one's, say). Cheap.
    ///
    /// # Panics
    ///
    /// The runner is of another kind.
    pub fn sharing(&self, config: JudgeConfig, runner: Arc<dyn Runner>) -> Self {
        assert!(
            runner.backend() == self.runner.backend()
                && runner.isolation() == self.runner.isolation()
                && runner.interpreter() == self.runner.interpreter(),
            "verdicts are shared between runners of one kind only"
        );
        let cache = self.cache.as_ref();
        Self {
            cache: cache.and_then(|cache| cache.sharing(&config, &*runner)),
            harness: self.harness.clone(),
            config,
            runner,
        }
    }

    /// Whether `problem` can be judged under this configuration.
    ///
    /// # Errors
    ///
    /// It has no test case, or isolated integrity was asked for and its kind lacks it.
    pub fn check(&self, problem: &Problem) -> Result<(), JudgeError> {
        if problem.suite.test_count() == 0 {
            return Err(JudgeError::NoTests {
                problem_id: problem.problem_id.clone(),
            });
        }
        let isolated = self.config.rules(problem).integrity == Integrity::Isolated;
        if self.config.integrity == IntegrityRequest::Isolated && !isolated {
            return Err(JudgeError::NotIsolated {
                problem_id: problem.problem_id.clone(),
                kind: problem.suite.kind(),
            });
        }
        Ok(())
    }

    /// Judges a stream of submissions; `sink` hears of each verdict as soon as it stands.
    ///
    /// Blocks until the stream has ended and everything is judged, or `cancel` is thrown: then runs
    /// are ended, submissions not finished are abandoned, and the summary is returned all the same.
    /// The stream is read from the calling thread, which may block in it without holding up runs
    /// (but a cancellation is seen only when it yields).
    ///
    /// # Errors
    ///
    /// A problem that cannot be judged ([`Judge::check`]), or a host that cannot run anything. What
    /// was finished before has been delivered.
    pub fn judge(
        &self,
        submissions: impl IntoIterator<Item = Submission>,
        sink: &mut (dyn EventSink + Send),
        cancel: Option<&Cancel>,
    ) -> Result<Summary, JudgeError> {
        let session = Session {
            judge: self,
            cancel,
            sink: Mutex::new(sink),
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        };
        let workers = self.config.workers.max(1);
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| session.work());
            }
            session.feed(submissions.into_iter(), workers);
        });
        session.finish()
    }

    /// Judges one submission.
    ///
    /// # Errors
    ///
    /// Those of [`Judge::judge`].
    pub fn judge_one(&self, submission: Submission) -> Result<Verdict, JudgeError> {
        let mut found = None;
        let mut sink = |event: Event<'_>| {
            if let Event::SubmissionFinished { verdict, .. } = event {
                found = Some(verdict.clone());
            }
        };
        self.judge([submission], &mut sink, None)?;
        Ok(found.expect("nobody cancels, so the one submission was finished"))
    }
}

/// One call of [`Judge::judge`].
struct Session<'a> {
    judge: &'a Judge,
    cancel: Option<&'a Cancel>,
    sink: Mutex<&'a mut (dyn EventSink + Send)>,
    state: Mutex<State>,
    /// A task appeared, room appeared, or the session ends.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    open: BTreeMap<u64, Open>,
    stream_ended: bool,
    /// Nothing new is started; what runs is not waited for longer than it takes to end it.
    stopping: bool,
    error: Option<JudgeError>,
    failures_in_a_row: u32,
    summary: Summary,
}

/// A submission being judged.
struct Open {
    work: Arc<Work>,
    size_bytes: usize,
    key: Option<Key>,
    stage: Stage,
    running: u32,
    cases: Vec<Option<CaseFacts>>,
    next: usize,
    failures: u32,
    timeouts: u32,
    tally: RunTally,
}

enum Stage {
    /// Wants its one compile run.
    Compile,
    /// Wants its one run under all tests.
    Tests,
    /// Wants a run for each test case from `next` on.
    Cases,
    /// The run of `Compile` or `Tests` is going on, or has decided everything.
    Closed,
}

/// Ends the session if its thread panics, so that the others do not wait for it for ever.
struct StopOnPanic<'a, 'b>(&'a Session<'b>);

impl Drop for StopOnPanic<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.state().stopping = true;
            self.0.changed.notify_all();
        }
    }
}

impl<'a> Session<'a> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&self, event: Event<'_>) {
        self.sink
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .event(event);
    }

    fn cancelled(&self) -> bool {
        self.cancel.is_some_and(Cancel::is_cancelled)
    }

    /// Waits for a change, or until it is time to look at `cancel` again.
    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let mut state = self
            .changed
            .wait_timeout(state, CANCEL_POLL)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        if !state.stopping && self.cancelled() {
            state.stopping = true;
            self.changed.notify_all();
        }
        state
    }

    fn stop(&self, error: Option<JudgeError>) {
        let mut state = self.state();
        state.stopping = true;
        state.error = state.error.take().or(error);
        self.changed.notify_all();
    }

    // The feeder.

    fn feed(&self, submissions: impl Iterator<Item = Submission>, workers: usize) {
        let _guard = StopOnPanic(self);
        for (seq, submission) in (0..).zip(submissions) {
            let mut state = self.state();
            let full = |state: &State| {
                let slowest = state
                    .open
                    .first_key_value()
                    .map_or(seq, |(slowest, _)| *slowest);
                let size: usize = state.open.values().map(|open| open.size_bytes).sum();
                let window = if size > OPEN_BYTES {
                    workers + 1
                } else {
                    2 * workers + 2
                };
                state.open.len() >= window || slowest + MAX_LEAD <= seq
            };
            while !state.stopping && full(&state) {
                state = self.wait(state);
            }
            if state.stopping {
                break;
            }
            drop(state);
            if let Err(error) = self.start(seq, submission) {
                self.stop(Some(error));
                break;
            }
        }
        let mut state = self.state();
        state.stream_ended = true;
        self.changed.notify_all();
        while !state.stopping && !state.open.is_empty() {
            state = self.wait(state);
        }
    }

    fn start(&self, seq: u64, submission: Submission) -> Result<(), JudgeError> {
        self.judge.check(&submission.problem)?;
        let submission = Arc::new(submission);
        self.emit(Event::SubmissionStarted {
            seq,
            submission: &submission,
        });
        let rules = self.judge.config.rules(&submission.problem);
        let source = match source_of(&submission) {
            Ok(source) => source,
            Err(decision) => {
                let judged = Judged::NotRun(decision);
                let verdict = self.verdict(&submission, &rules, judged, &RunTally::default());
                self.finished(seq, &submission, verdict);
                return Ok(());
            }
        };
        let cache = self.judge.cache.as_ref();
        let key = cache.map(|cache| cache.key(&submission.problem, &rules, &source));
        if let Some(known) = cache
            .zip(key.as_ref())
            .and_then(|(cache, key)| cache.get(key))
        {
            let verdict = adopted(known, &submission);
            self.finished(seq, &submission, verdict);
            return Ok(());
        }
        let problem = &submission.problem;
        let cases = problem.suite.test_count();
        let stage = match problem.suite {
            Suite::Stdio { .. } | Suite::Call { .. } => Stage::Compile,
            Suite::Check { .. } | Suite::Asserts { .. } => Stage::Tests,
        };
        let open = Open {
            size_bytes: problem.suite.size_bytes(),
            work: Arc::new(Work {
                submission,
                rules,
                source,
                code: None,
            }),
            key,
            stage,
            running: 0,
            cases: (0..cases).map(|_| None).collect(),
            next: 0,
            failures: 0,
            timeouts: 0,
            tally: RunTally::default(),
        };
        self.state().open.insert(seq, open);
        self.changed.notify_all();
        Ok(())
    }

    // The workers.

    fn work(&self) {
        let _guard = StopOnPanic(self);
        loop {
            let mut state = self.state();
            let (seq, work, task) = loop {
                if state.stopping || state.stream_ended && state.open.is_empty() {
                    return;
                }
                if let Some(task) = state.pick(&self.judge.config) {
                    break task;
                }
                state = self.wait(state);
            };
            drop(state);
            let Some((facts, tally)) = self.run(seq, &work, task) else {
                return;
            };
            self.record(seq, facts, tally);
        }
    }

    /// Makes the runs of one task, with repeats for failures of ours. `None` ends the worker.
    fn run(&self, seq: u64, work: &Work, task: Task) -> Option<(Facts, RunTally)> {
        let judge = self.judge;
        let mut delay = judge.config.retry_delay;
        for attempt in 0.. {
            if self.cancelled() {
                self.stop(None);
                return None;
            }
            self.emit(Event::RunStarted { seq });
            let mut tally = RunTally::default();
            let result = work.run(
                task,
                &*judge.runner,
                &judge.harness,
                judge.config.network,
                self.cancel,
                &mut tally,
            );
            self.emit(Event::RunFinished { seq });
            self.state().summary.runs += tally.runs;
            let failure = match result {
                Ok(facts) => {
                    self.state().failures_in_a_row = 0;
                    return Some((facts, tally));
                }
                Err(failure) => failure,
            };
            match failure {
                Failure::Sandbox(SandboxError::Cancelled) => {
                    self.stop(None);
                    return None;
                }
                Failure::Sandbox(
                    error @ (SandboxError::Interpreter { .. }
                    | SandboxError::IsolationUnavailable { .. }),
                ) => {
                    self.stop(Some(JudgeError::Sandbox(error)));
                    return None;
                }
                failure if attempt < judge.config.retries && failure.may_pass() => {
                    self.sleep(delay);
                    delay *= 4;
                }
                failure => {
                    let mut state = self.state();
                    state.failures_in_a_row += 1;
                    let failures = state.failures_in_a_row;
                    drop(state);
                    if failures >= judge.config.max_failures_in_a_row.max(1) {
                        let last = failure.to_string();
                        self.stop(Some(JudgeError::HostBroken { failures, last }));
                        return None;
                    }
                    return Some((failure.into_facts(task), tally));
                }
            }
        }
        None
    }

    fn sleep(&self, delay: Duration) {
        let until = Instant::now() + delay;
        let mut state = self.state();
        while !state.stopping && Instant::now() < until {
            state = self.wait(state);
        }
    }

    fn record(&self, seq: u64, facts: Facts, tally: RunTally) {
        let mut state = self.state();
        let Some(open) = state.open.get_mut(&seq) else {
            return;
        };
        open.running -= 1;
        open.tally.add(&tally);
        let not_compiled = match facts {
            Facts::Compiled { form, code } => {
                let work = Arc::make_mut(&mut open.work);
                work.code = code;
                open.tally.continuation =
                    work.source.form == Form::Either && form == Form::Continuation;
                work.source.form = form;
                open.stage = Stage::Cases;
                None
            }
            Facts::NotCompiled(facts) => Some(facts),
            Facts::Case(index, facts) => {
                open.failures += u32::from(facts.fails());
                open.timeouts += u32::from(facts.decision.error_type == ErrorType::Timeout);
                open.cases[index] = Some(facts);
                None
            }
            Facts::All { form, cases } => {
                open.tally.continuation =
                    open.work.source.form == Form::Either && form == Form::Continuation;
                open.cases = cases;
                None
            }
        };
        if not_compiled.is_none() && (open.running > 0 || open.wants(&self.judge.config)) {
            drop(state);
            self.changed.notify_all();
            return;
        }
        let open = state.open.remove(&seq).expect("it was there a moment ago");
        drop(state);
        let judged = match not_compiled {
            Some(facts) => Judged::NotCompiled(facts),
            None => Judged::Cases(open.cases),
        };
        let work = &open.work;
        let verdict = self.verdict(&work.submission, &work.rules, judged, &open.tally);
        if let (Some(cache), Some(key)) = (&self.judge.cache, &open.key) {
            // The extraction is the submission's own, unless it was decided here.
            let extraction = open.tally.continuation.then(|| "completion".to_owned());
            if cache
                .put(
                    key,
                    &Verdict {
                        extraction,
                        ..verdict.clone()
                    },
                )
                .is_err()
            {
                self.state().summary.cache_failures += 1;
            }
        }
        self.finished(seq, &work.submission, verdict);
        self.changed.notify_all();
    }

    fn verdict(
        &self,
        submission: &Submission,
        rules: &Rules,
        judged: Judged,
        tally: &RunTally,
    ) -> Verdict {
        verdict_of(
            submission,
            rules,
            &self.judge.config,
            &*self.judge.runner,
            judged,
            tally,
        )
    }

    fn finished(&self, seq: u64, submission: &Arc<Submission>, verdict: Verdict) {
        self.emit(Event::SubmissionFinished {
            seq,
            submission,
            verdict: &verdict,
        });
        let mut state = self.state();
        state.summary.judged += 1;
        state.summary.cached += u64::from(verdict.cached);
        state.summary.api_errors += u64::from(verdict.error_type == ErrorType::ApiError);
    }

    /// Every thread has ended.
    fn finish(self) -> Result<Summary, JudgeError> {
        let mut state = std::mem::take(&mut *self.state());
        for (seq, open) in &state.open {
            self.emit(Event::SubmissionAbandoned {
                seq: *seq,
                submission: &open.work.submission,
            });
        }
        state.summary.abandoned = state.open.len() as u64;
        state.error.map_or(Ok(state.summary), Err)
    }
}

impl State {
    /// The next task: of the submission with the fewest runs going on, the oldest of these.
    fn pick(&mut self, config: &JudgeConfig) -> Option<(u64, Arc<Work>, Task)> {
        let (seq, open) = self
            .open
            .iter_mut()
            .filter(|(_, open)| open.may_start(config))
            .min_by_key(|(seq, open)| (open.running, **seq))?;
        let task = match open.stage {
            Stage::Compile => Task::Compile,
            Stage::Tests => Task::Tests,
            Stage::Cases => Task::Case(open.next),
            Stage::Closed => return None,
        };
        match task {
            Task::Case(_) => open.next += 1,
            Task::Compile | Task::Tests => open.stage = Stage::Closed,
        }
        open.running += 1;
        Some((*seq, open.work.clone(), task))
    }
}

impl Open {
    /// Whether it still needs a run that was not started. Every case started has a lower index
    /// than every case not started, so a budget spent by known results stays spent.
    fn wants(&self, config: &JudgeConfig) -> bool {
        match self.stage {
            Stage::Compile | Stage::Tests => true,
            Stage::Closed => false,
            Stage::Cases => {
                let spent = |most: Option<u32>, used| most.is_some_and(|most| used >= most.max(1));
                self.next < self.cases.len()
                    && !spent(config.stop_after_failures, self.failures)
                    && !spent(config.max_timeouts, self.timeouts)
            }
        }
    }

    /// Whether one may start now. A submission that has timed out gets no more runs at once than
    /// could still count: each of them is likely to take as long.
    fn may_start(&self, config: &JudgeConfig) -> bool {
        let at_most = match config.max_timeouts {
            Some(most) if self.timeouts > 0 => most.saturating_sub(self.timeouts).max(1),
            _ => u32::MAX,
        };
        self.running < at_most && self.wants(config)
    }
}

/// The source to run, or the decision that there is none.
fn source_of(submission: &Submission) -> Result<Source, Decision> {
    let (bytes, form) = match &submission.source {
        SubmissionSource::Program(bytes) => (bytes, Form::Program),
        SubmissionSource::Continuation(bytes) => (bytes, Form::Continuation),
        SubmissionSource::ProgramOrContinuation(bytes) => (bytes, Form::Either),
        SubmissionSource::Empty => {
            return Err(Decision::new(ErrorType::SyntaxError, "no_code"));
        }
        SubmissionSource::Missing { reason } => {
            return Err(Decision::new(ErrorType::ApiError, reason.as_str()));
        }
    };
    // A program on stdin and stdout defines no entry point, so only the text itself can tell.
    let stdio = matches!(submission.problem.suite, Suite::Stdio { .. });
    match form {
        Form::Either if stdio => Ok(Source {
            bytes: bytes.clone(),
            form: Form::Program,
        }),
        Form::Continuation if stdio => {
            let whole = [submission.problem.prompt.as_bytes(), bytes].concat();
            Ok(Source {
                bytes: whole.into(),
                form: Form::Program,
            })
        }
        form => Ok(Source {
            bytes: bytes.clone(),
            form,
        }),
    }
}

/// A verdict known from other submission of the same content, made this one's.
fn adopted(known: Verdict, submission: &Submission) -> Verdict {
    let either = matches!(
        submission.source,
        SubmissionSource::ProgramOrContinuation(_)
    );
    let decided = known
        .extraction
        .filter(|mode| either && mode == "completion");
    Verdict {
        problem_id: submission.problem.problem_id.clone(),
        sample: submission.sample,
        dataset: submission.problem.dataset.clone(),
        extraction: decided.or_else(|| submission.extraction.map(str::to_owned)),
        truncated: submission.truncated,
        cached: true,
        ..known
    }
}
