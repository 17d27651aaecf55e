//! One run as the async side sees it: a place in the queue, an answer, or a refusal; and the end of
//! the run when whoever asked for it has gone.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use executor::{Cancel, Interpreter, Isolation, RunReport, RunRequest, Runner, SandboxError};
use tokio::sync::oneshot;

use crate::metrics::Metrics;
use crate::queue::{Client, Full, Queue, Ticket};

/// How often a thread that waits for its turn looks whether its work was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// Why a run was not made. Nothing of ours is broken; there is too much to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue is full, or the run was dropped from it for another client's.
    Full,
    /// Its turn did not come in time.
    Waited,
}

/// How long a run may wait for its turn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Counts against the queue's bound, and gives up.
    AtMost(Duration),
    /// Part of work that was admitted already.
    Admitted,
}

/// Puts runs into the queue.
#[derive(Clone)]
pub(crate) struct Dispatch {
    pub(crate) queue: Arc<Queue>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Gives the place up unless the run has been answered.
struct UntilAnswered<'a> {
    queue: &'a Queue,
    ticket: Ticket,
}

impl Drop for UntilAnswered<'_> {
    fn drop(&mut self) {
        // After the answer this finds the job done, and does nothing.
        self.queue.leave(&self.ticket);
    }
}

impl Dispatch {
    /// Makes one run when its turn comes. Dropping the future ends the run.
    pub(crate) async fn run(
        &self,
        runner: &Arc<dyn Runner>,
        client: &Client,
        request: RunRequest,
        patience: Patience,
    ) -> Result<Result<RunReport, SandboxError>, Refused> {
        let (answer, answered) = oneshot::channel();
        let (runner, metrics) = (runner.clone(), self.metrics.clone());
        let job = move |ticket: &Ticket| {
            let result = run_now(&*runner, &metrics, ticket, &request, None);
            drop(request);
            // Nobody listens any more if the client has gone.
            let _ = answer.send(result);
        };
        let entered = match patience {
            Patience::Admitted => self.queue.enter_admitted(client, job),
            _ => self.queue.enter(client, job),
        };
        let ticket = entered.map_err(|Full| self.refused(Refused::Full))?;
        let place = UntilAnswered {
            queue: &self.queue,
            ticket,
        };
        let mut answered = answered;
        if let Patience::AtMost(wait) = patience {
            match tokio::time::timeout(wait, &mut answered).await {
                Ok(result) => return result.map_err(|_| self.refused(Refused::Full)),
                Err(_) if place.ticket.waits() => return Err(self.refused(Refused::Waited)),
                Err(_) => {}
            }
        }
        answered.await.map_err(|_| self.refused(Refused::Full))
    }

    fn refused(&self, why: Refused) -> Refused {
        self.metrics.refused(why);
        why
    }
}

fn run_now(
    runner: &dyn Runner,
    metrics: &Metrics,
    ticket: &Ticket,
    request: &RunRequest,
    cancel: Option<&Cancel>,
) -> Result<RunReport, SandboxError> {
    metrics.queued_for(ticket.entered().elapsed());
    let own;
    let cancel = match cancel {
        Some(cancel) => cancel,
        None => {
            own = Cancel::new()?;
            &own
        }
    };
    if !ticket.runs_under(cancel) {
        return Err(SandboxError::Cancelled);
    }
    let begun = Instant::now();
    let result = runner.run_until(request, Some(cancel));
    ticket.is_over();
    metrics.ran(&result, begun.elapsed());
    result
}

/// A runner that waits for its turn: what the judge makes its runs through. The call as a whole was
/// admitted, so its runs are never refused.
pub(crate) struct Queued {
    pub(crate) runner: Arc<dyn Runner>,
    pub(crate) dispatch: Dispatch,
    pub(crate) client: Client,
}

impl Runner for Queued {
    fn run_until(
        &self,
        request: &RunRequest,
        cancel: Option<&Cancel>,
    ) -> Result<RunReport, SandboxError> {
        let (answer, answered) = sync_channel(1);
        let (runner, metrics) = (self.runner.clone(), self.dispatch.metrics.clone());
        // Sources and inputs stand behind `Arc`s: a cheap copy.
        let (request, switch) = (request.clone(), cancel.cloned());
        let queue = &self.dispatch.queue;
        let entered = queue.enter_admitted(&self.client, move |ticket| {
            let result = run_now(&*runner, &metrics, ticket, &request, switch.as_ref());
            let _ = answer.send(result);
        });
        let Ok(ticket) = entered else {
            return Err(SandboxError::Cancelled); // the server is going down
        };
        let place = UntilAnswered { queue, ticket };
        loop {
            match answered.recv_timeout(CANCEL_POLL) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => return Err(SandboxError::Cancelled),
                Err(RecvTimeoutError::Timeout) => {
                    if place.ticket.waits() && cancel.is_some_and(Cancel::is_cancelled) {
                        return Err(SandboxError::Cancelled);
                    }
                }
            }
        }
    }

    fn isolation(&self) -> Isolation {
        self.runner.isolation()
    }

    fn backend(&self) -> &'static str {
        self.runner.backend()
    }

    fn interpreter(&self) -> &Interpreter {
        self.runner.interpreter()
    }
}
