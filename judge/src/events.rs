//! What happens while the judge works. It never prints; whoever wants to know listens.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Submission, Verdict};

/// Something happened. Events come one at a time, from the judge's threads.
///
/// Each `SubmissionStarted` is followed by exactly one `SubmissionFinished` or, when judging ends
/// early, `SubmissionAbandoned` of the same `seq`; each `RunStarted` by one `RunFinished`, before
/// its submission ends.
#[derive(Debug)]
pub enum Event<'a> {
    /// A submission was taken from the stream.
    SubmissionStarted {
        /// Its place in the stream, from 0.
        seq: u64,
        /// The submission.
        submission: &'a Arc<Submission>,
    },
    /// A run of it begins: compiling, a test case, or a repeat of one after a failure of ours.
    RunStarted {
        /// The submission's place in the stream.
        seq: u64,
    },
    /// The run has ended, one way or another.
    RunFinished {
        /// The submission's place in the stream.
        seq: u64,
    },
    /// A submission is judged.
    SubmissionFinished {
        /// Its place in the stream.
        seq: u64,
        /// The submission.
        submission: &'a Arc<Submission>,
        /// What was decided.
        verdict: &'a Verdict,
    },
    /// Judging ended before this submission was judged.
    SubmissionAbandoned {
        /// Its place in the stream.
        seq: u64,
        /// The submission.
        submission: &'a Arc<Submission>,
    },
}

/// Listens to a judge. A slow sink slows the judge down.
pub trait EventSink {
    /// Takes one event.
    fn event(&mut self, event: Event<'_>);
}

impl<F: FnMut(Event<'_>)> EventSink for F {
    fn event(&mut self, event: Event<'_>) {
        self(event);
    }
}

/// Delivers verdicts in the order of the stream. Holds back at most as many as the judge lets a
/// slow submission be overtaken by (1,024).
#[derive(Debug)]
pub struct InOrder<F> {
    next: u64,
    waiting: BTreeMap<u64, Option<(Arc<Submission>, Verdict)>>,
    deliver: F,
}

impl<F: FnMut(&Submission, Verdict)> InOrder<F> {
    /// Calls `deliver` for each submission that is judged, in order. One that is abandoned is left
    /// out and holds up nobody.
    pub fn new(deliver: F) -> Self {
        Self {
            next: 0,
            waiting: BTreeMap::new(),
            deliver,
        }
    }
}

impl<F: FnMut(&Submission, Verdict)> EventSink for InOrder<F> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::SubmissionFinished {
                seq,
                submission,
                verdict,
            } => {
                self.waiting
                    .insert(seq, Some((submission.clone(), verdict.clone())));
            }
            Event::SubmissionAbandoned { seq, .. } => {
                self.waiting.insert(seq, None);
            }
            _ => return,
        }
        while let Some(next) = self.waiting.remove(&self.next) {
            self.next += 1;
            if let Some((submission, verdict)) = next {
                (self.deliver)(&submission, verdict);
            }
        }
    }
}
