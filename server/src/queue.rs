//! Who runs next: a bounded queue, fair between clients, in front of the sandbox's slots.
//!
//! # Theory of operation
//!
//!   handler (async)          queue                        workers (one thread a slot)
//!     | -- enter(client) ----->| one line for each client    |
//!     |                        | served in turn ------------>| job(): one run in the sandbox
//!     |<------------- the job answers through its own channel|
//!     | -- leave() ----------->| a job that waits is dropped, one that runs is cancelled
//!
//! A run blocks its thread for as long as the program takes, so runs have threads of their own and
//! the async side never waits for one. There are as many workers as the sandbox has slots: nobody
//! waits inside the sandbox, and the time spent here is no part of any measured time.
//!
//! Lines are served round robin, one job each, so a client with ten thousand programs delays another
//! by one program. When the queue is full, the longest line pays: its youngest job is dropped for a
//! newcomer whose own line is shorter. A dropped job is never run; whoever waits for it sees its
//! channel close.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use executor::Cancel;

/// Whose line a job stands in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client(pub(crate) Arc<str>);

/// What a worker does: the run, and telling whoever waits. Gets the ticket, to take its switch.
type Work = Box<dyn FnOnce(&Ticket) + Send>;

/// The queue is full, and this client's line is among the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// A bounded queue with a line for each client, and the threads that serve it.
pub(crate) struct Queue {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    capacity: usize,
    lines: Mutex<Lines>,
    arrived: Condvar,
}

#[derive(Default)]
struct Lines {
    by_client: HashMap<Client, Line>,
    /// Clients with somebody in line, in the order of their turns.
    turns: VecDeque<Client>,
    waiting: usize,
    running: usize,
    closed: bool,
}

#[derive(Default)]
struct Line {
    tickets: VecDeque<Ticket>,
    /// Of these, how many still wait; the others have left.
    waiting: usize,
}

/// A place in the queue. Clones are the same place.
#[derive(Clone)]
pub(crate) struct Ticket(Arc<Place>);

struct Place {
    client: Client,
    entered: Instant,
    /// May be dropped for a newcomer; runs of work that was admitted as a whole may not.
    droppable: bool,
    state: Mutex<State>,
}

enum State {
    Waiting(Work),
    /// The switch that ends the run, once there is one.
    Running(Option<Cancel>),
    /// Left or dropped before it ran, or left while running.
    Left,
    Done,
}

/// How busy the queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) waiting: usize,
    pub(crate) running: usize,
    pub(crate) clients: usize,
}

impl Queue {
    /// Starts `workers` threads.
    pub(crate) fn start(workers: usize, capacity: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            capacity,
            lines: Mutex::default(),
            arrived: Condvar::new(),
        });
        let workers = (0..workers)
            .map(|index| {
                let shared = shared.clone();
                std::thread::Builder::new()
                    .name(format!("run-{index}"))
                    .spawn(move || shared.work())
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            shared,
            workers: Mutex::new(workers),
        })
    }

    /// Takes a place at the end of the client's line.
    ///
    /// # Errors
    ///
    /// The queue is full and no other line is longer. The work is dropped.
    pub(crate) fn enter(
        &self,
        client: &Client,
        work: impl FnOnce(&Ticket) + Send + 'static,
    ) -> Result<Ticket, Full> {
        self.place(client, true, Box::new(work))
    }

    /// Takes a place for a part of work that was admitted as a whole: the queue's bound does not
    /// hold, since the caller has one of its own.
    pub(crate) fn enter_admitted(
        &self,
        client: &Client,
        work: impl FnOnce(&Ticket) + Send + 'static,
    ) -> Result<Ticket, Full> {
        self.place(client, false, Box::new(work))
    }

    fn place(&self, client: &Client, droppable: bool, work: Work) -> Result<Ticket, Full> {
        let ticket = Ticket(Arc::new(Place {
            client: client.clone(),
            entered: Instant::now(),
            droppable,
            state: Mutex::new(State::Waiting(work)),
        }));
        let mut dropped = None;
        let mut lines = self.shared.lock();
        if lines.closed {
            return Err(Full);
        }
        if droppable && lines.waiting >= self.shared.capacity {
            let own = lines.by_client.get(client).map_or(0, |line| line.waiting);
            dropped = Some(lines.drop_youngest_of_longest(own).ok_or(Full)?);
        }
        lines.push(ticket.clone());
        drop(lines);
        self.shared.arrived.notify_one();
        drop(dropped); // its captures may be large: not under the lock
        Ok(ticket)
    }

    /// Gives a place up: a job that waits is dropped, one that runs is ended.
    pub(crate) fn leave(&self, ticket: &Ticket) {
        let mut state = ticket.state();
        match std::mem::replace(&mut *state, State::Left) {
            State::Waiting(work) => {
                drop(state);
                self.shared.lock().left(&ticket.0.client);
                drop(work);
            }
            State::Running(Some(cancel)) => cancel.cancel(),
            State::Running(None) | State::Left => {}
            State::Done => *state = State::Done,
        }
    }

    /// How busy it is right now.
    pub(crate) fn load(&self) -> Load {
        let lines = self.shared.lock();
        Load {
            waiting: lines.waiting,
            running: lines.running,
            clients: lines.turns.len(),
        }
    }

    /// Whether another job would have to push one out.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.lock().waiting >= self.shared.capacity
    }

    /// Takes no new jobs and drops those that wait; what runs goes on.
    pub(crate) fn close(&self) {
        let mut lines = self.shared.lock();
        lines.closed = true;
        let left = std::mem::take(&mut lines.by_client);
        lines.turns.clear();
        lines.waiting = 0;
        drop(lines);
        self.shared.arrived.notify_all();
        for ticket in left.into_values().flat_map(|line| line.tickets) {
            // Dropping the work closes the channel of whoever waits for it.
            *ticket.state() = State::Left;
        }
    }

    /// After [`Queue::close`]: waits until what runs has ended.
    pub(crate) fn join(&self) {
        let workers =
            std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        for worker in workers {
            let _ = worker.join();
        }
    }
}

impl Ticket {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it entered the queue.
    pub(crate) fn entered(&self) -> Instant {
        self.0.entered
    }

    /// Whether the job has not been started yet.
    pub(crate) fn waits(&self) -> bool {
        matches!(*self.state(), State::Waiting(_))
    }

    /// For the job itself: the run can from now on be ended by this switch. `false` if the client
    /// has left already.
    pub(crate) fn runs_under(&self, cancel: &Cancel) -> bool {
        let mut state = self.state();
        match *state {
            State::Running(_) => {
                *state = State::Running(Some(cancel.clone()));
                true
            }
            _ => false,
        }
    }
}

impl Ticket {
    /// For the job itself: the run is over. Called before its answer is given, so that whoever gets
    /// the answer and leaves does not throw a switch that other runs share.
    pub(crate) fn is_over(&self) {
        *self.state() = State::Done;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let mut lines = self.lock();
            let ticket = loop {
                if let Some(ticket) = lines.next() {
                    break ticket;
                }
                if lines.closed {
                    return;
                }
                lines = self
                    .arrived
                    .wait(lines)
                    .unwrap_or_else(PoisonError::into_inner);
            };
            let mut state = ticket.state();
            let work = match std::mem::replace(&mut *state, State::Running(None)) {
                State::Waiting(work) => work,
                other => {
                    // It left, and has counted itself out.
                    *state = other;
                    continue;
                }
            };
            drop(state);
            lines.left(&ticket.0.client);
            lines.running += 1;
            drop(lines);
            let running = Running {
                shared: self,
                ticket: &ticket,
            };
            // A panic in a job is that job's failure (its channel closes), never this thread's end.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&ticket))).is_err() {
                tracing::error!("a run panicked; its client was answered as by a lost server");
            }
            drop(running);
        }
    }
}

/// Counts a run out however it ends.
struct Running<'a> {
    shared: &'a Shared,
    ticket: &'a Ticket,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        *self.ticket.state() = State::Done;
        self.shared.lock().running -= 1;
    }
}

impl Lines {
    fn push(&mut self, ticket: Ticket) {
        let client = ticket.0.client.clone();
        let line = self.by_client.entry(client.clone()).or_default();
        if line.tickets.is_empty() {
            self.turns.push_back(client);
        }
        // Who left stays in line until its turn; a client that comes and goes must not pile up.
        if line.tickets.len() > 64 && line.tickets.len() > 2 * line.waiting {
            line.tickets.retain(Ticket::waits);
        }
        line.tickets.push_back(ticket);
        line.waiting += 1;
        self.waiting += 1;
    }

    /// The ticket whose turn it is; it may have left since.
    fn next(&mut self) -> Option<Ticket> {
        loop {
            let client = self.turns.pop_front()?;
            let Some(line) = self.by_client.get_mut(&client) else {
                continue;
            };
            let ticket = line.tickets.pop_front();
            if line.tickets.is_empty() {
                // `left` may still be told of this client: it looks only at what is there.
                if line.waiting == 0 || ticket.is_none() {
                    self.by_client.remove(&client);
                }
            } else {
                self.turns.push_back(client);
            }
            if ticket.is_some() {
                return ticket;
            }
        }
    }

    fn left(&mut self, client: &Client) {
        self.waiting = self.waiting.saturating_sub(1);
        if let Some(line) = self.by_client.get_mut(client) {
            line.waiting = line.waiting.saturating_sub(1);
            if line.tickets.is_empty() {
                self.by_client.remove(client);
            }
        }
    }

    /// Drops the youngest job of the longest line, if that one is longer than `own` by more than
    /// the newcomer.
    fn drop_youngest_of_longest(&mut self, own: usize) -> Option<Work> {
        let (client, _) = self
            .by_client
            .iter()
            .filter(|(_, line)| line.waiting > own + 1)
            .max_by_key(|(_, line)| line.waiting)?;
        let client = client.clone();
        let line = self.by_client.get_mut(&client)?;
        let mut found = None;
        for ticket in line.tickets.iter().rev().filter(|t| t.0.droppable) {
            let mut state = ticket.state();
            if let State::Waiting(_) = *state
                && let State::Waiting(work) = std::mem::replace(&mut *state, State::Left)
            {
                found = Some(work);
                break;
            }
        }
        if found.is_some() {
            self.left(&client);
        }
        found
    }
}
