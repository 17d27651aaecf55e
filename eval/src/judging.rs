//! Judging the answers to datasets: what an earlier run has left is taken over, and a verdict is on
//! disk before it is counted, so that whatever ends the process costs at most the runs in flight.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use executor::Cancel;
use judge::{ErrorType, Event, Judge, JudgeError, Submission, Verdict};

use crate::EvalError;
use crate::completions::{Answer, Generation};
use crate::metrics::{DatasetSummary, MetricSettings, Session, Subtypes, Tally};
use crate::results::RowLog;

/// The k of pass@k that are reported where every problem has as many samples.
const PASS_AT: [u32; 5] = [1, 5, 10, 50, 100];

/// The verdicts of one dataset while they are made: the file, and what the summary is made of.
#[derive(Debug)]
pub struct Ledger {
    log: RowLog,
    tally: Tally,
    subtypes: Subtypes,
    /// The reason of the first failure of ours.
    failure: Option<String>,
    /// What is known about the completions that are being judged.
    in_flight: HashMap<(String, u32), Generation>,
    /// Problems of which something is judged now.
    problems: HashSet<String>,
    /// When the first of them came, and when the last verdict stood.
    span: Option<(Instant, Instant)>,
}

/// What a dataset's judgement came to.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The numbers.
    pub summary: DatasetSummary,
    /// How many verdicts of each error type had which subtype.
    pub subtypes: Subtypes,
    /// Set if so many submissions failed for reasons of ours that the numbers mean nothing.
    pub too_many_failures: Option<TooManyFailures>,
}

/// More submissions than allowed failed for reasons of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct TooManyFailures {
    /// Their share.
    pub rate: f64,
    /// The share that is allowed.
    pub allowed: f64,
    /// Why one of them failed, if that is known.
    pub reason: Option<String>,
}

impl std::fmt::Display for TooManyFailures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rate, allowed, .. } = self;
        write!(
            f,
            "{:.1} % of the submissions failed for reasons of ours, more than {:.0} %",
            100.0 * rate,
            100.0 * allowed,
        )?;
        match &self.reason {
            Some(reason) => write!(f, "; one of them: {reason}"),
            None => Ok(()),
        }
    }
}

impl Ledger {
    /// The ledger of a dataset whose verdicts go into this file.
    pub fn new(slug: &str, log: RowLog) -> Self {
        Self {
            log,
            tally: Tally::new(slug),
            subtypes: Subtypes::default(),
            failure: None,
            in_flight: HashMap::new(),
            problems: HashSet::new(),
            span: None,
        }
    }

    /// How many verdicts are on disk.
    pub fn len(&self) -> usize {
        self.log.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// Whether an earlier run has judged this sample, so that it need not be judged again.
    pub fn has(&self, problem_id: &str, sample: u32) -> bool {
        self.log.is_settled(problem_id, sample)
    }

    /// Whether there is a verdict on this sample, be it that we failed.
    pub fn has_any(&self, problem_id: &str, sample: u32) -> bool {
        self.tally.error_type(problem_id, sample).is_some()
    }

    /// The error type of the verdict on this sample.
    pub fn error_type(&self, problem_id: &str, sample: u32) -> Option<ErrorType> {
        self.tally.error_type(problem_id, sample)
    }

    /// The verdict on this sample, whatever it is.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or what stands there is no verdict.
    pub fn verdict(&self, problem_id: &str, sample: u32) -> Result<Option<Verdict>, EvalError> {
        let row = self.log.row(problem_id, sample)?;
        row.map(|row| self.parse(problem_id, &row)).transpose()
    }

    fn parse(&self, problem_id: &str, row: &str) -> Result<Verdict, EvalError> {
        Verdict::from_row(row).map_err(|error| EvalError::BadRecord {
            path: self.log.path().to_owned(),
            id: problem_id.to_owned(),
            reason: error.to_string(),
        })
    }

    /// Counts the verdict that an earlier run has left for this sample; says whether there is one.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or what stands there is no verdict.
    pub fn take_over(
        &mut self,
        problem_id: &str,
        sample: u32,
        generation: Generation,
    ) -> Result<bool, EvalError> {
        let Some(row) = self.log.recorded(problem_id, sample)? else {
            return Ok(false);
        };
        let verdict = self.parse(problem_id, &row)?;
        self.count(&verdict, generation)?;
        Ok(true)
    }

    /// Which of a problem's answers are to be judged: those without a verdict.
    fn admit(&mut self, answers: Vec<Answer>) -> Vec<Submission> {
        let now = Instant::now();
        self.span.get_or_insert((now, now));
        let mut new = Vec::new();
        for answer in answers {
            let submission = answer.submission;
            if !self.has(&submission.problem.problem_id, submission.sample) {
                let id = submission.problem.problem_id.clone();
                self.problems.insert(id.clone());
                self.in_flight
                    .insert((id, submission.sample), answer.generation);
                new.push(submission);
            }
        }
        new
    }

    /// Keeps a verdict, then counts it.
    fn take(&mut self, verdict: &Verdict) -> Result<(), EvalError> {
        if let Some((_, last)) = &mut self.span {
            *last = Instant::now();
        }
        self.log.append(&verdict.to_row())?;
        let key = (verdict.problem_id.clone(), verdict.sample);
        let generation = self.in_flight.remove(&key).unwrap_or_default();
        self.count(verdict, generation)?;
        if verdict.error_type == ErrorType::ApiError && self.failure.is_none() {
            let evidence = verdict.evidence.as_ref();
            let failure = evidence.and_then(|evidence| evidence.failure.clone());
            self.failure = failure.or_else(|| verdict.error_subtype.clone());
        }
        Ok(())
    }

    fn count(&mut self, verdict: &Verdict, generation: Generation) -> Result<(), EvalError> {
        self.subtypes
            .add(verdict.error_type, verdict.error_subtype.as_deref());
        self.tally.add(verdict, generation)
    }

    /// How many samples have each error_type so far.
    pub fn distribution(&self) -> BTreeMap<&'static str, u64> {
        self.tally.distribution()
    }

    /// The session for the summary: from the first submission to the last verdict. `None` if nothing
    /// was judged.
    fn session(&self) -> Option<Session> {
        let (first, last) = self.span?;
        (!self.problems.is_empty()).then(|| Session {
            wall_clock: last - first,
            problems: self.problems.len() as u64,
        })
    }

    /// The numbers, and the verdict file in its final order.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn finish(self, max_api_error_rate: f64) -> Result<Judged, EvalError> {
        let fewest = self.tally.fewest_samples();
        let ks = PASS_AT.into_iter().filter(|&k| k == 1 || k <= fewest);
        let settings = MetricSettings {
            ks: ks.collect(),
            ..MetricSettings::default()
        };
        let summary = self.tally.summary(&settings, self.session());
        self.log.finish()?;
        let rate = self.tally.api_error_rate();
        Ok(Judged {
            summary,
            subtypes: self.subtypes,
            too_many_failures: (rate > max_api_error_rate).then_some(TooManyFailures {
                rate,
                allowed: max_api_error_rate,
                reason: self.failure,
            }),
        })
    }
}

/// Judges a stream of answers of datasets that each have a ledger, and leaves every verdict there.
/// `seen` hears of each verdict once it is on disk.
///
/// The stream is read from the calling thread, which may block in it without holding up runs. When
/// `cancel` is thrown the call returns early, without an error.
///
/// # Errors
///
/// The first of: an error of the stream, a verdict that cannot be kept, an error of `seen`, a host
/// that cannot run anything. What was judged before is kept.
pub fn judge_answers<E>(
    judge: &Judge,
    cancel: &Cancel,
    ledgers: &mut BTreeMap<String, Ledger>,
    answers: impl Iterator<Item = Result<Vec<Answer>, E>>,
    seen: &mut (dyn FnMut(&Verdict) -> Result<(), E> + Send),
) -> Result<(), E>
where
    E: From<EvalError> + From<JudgeError> + Send,
{
    struct Shared<'a, E> {
        ledgers: &'a mut BTreeMap<String, Ledger>,
        error: Option<E>,
    }
    fn lock<'m, 'a, E>(shared: &'m Mutex<Shared<'a, E>>) -> MutexGuard<'m, Shared<'a, E>> {
        shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
    let shared = Mutex::new(Shared {
        ledgers,
        error: None,
    });
    let submissions = answers
        .map_while(|answers| {
            let mut shared = lock(&shared);
            let new = answers.map(|answers| {
                let Some(first) = answers.first() else {
                    return Vec::new();
                };
                let slug = &first.submission.problem.dataset;
                let ledger = shared.ledgers.get_mut(slug).expect("each dataset has one");
                ledger.admit(answers)
            });
            new.map_err(|error| shared.error = Some(error)).ok()
        })
        .flatten();
    let mut sink = |event: Event<'_>| {
        let Event::SubmissionFinished { verdict, .. } = event else {
            return;
        };
        let mut shared = lock(&shared);
        let ledger = shared.ledgers.get_mut(&verdict.dataset);
        let taken = ledger.expect("each dataset has one").take(verdict);
        if let Err(error) = taken.map_err(E::from).and_then(|()| seen(verdict)) {
            // The first error says why; nothing is worth judging that cannot be kept.
            shared.error.get_or_insert(error);
            cancel.cancel();
        }
    };
    let judged = judge.judge(submissions, &mut sink, Some(cancel));
    match lock(&shared).error.take() {
        Some(error) => Err(error),
        None => judged.map(drop).map_err(E::from),
    }
}
