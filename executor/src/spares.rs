//! Cells started before a run asks for them, so that no run waits for a start after another has made
//! its cell unusable.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::cells::{Cell, CellKey, CellPlan};
use crate::idle::Idle;

/// A thread that starts cells, one after the other, and lays them beside the idle ones.
#[derive(Debug)]
pub(crate) struct Spares {
    orders: Option<SyncSender<Order>>,
    maker: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Order {
    key: CellKey,
    period: u64,
}

#[derive(Debug, Default)]
struct Shared {
    /// Orders of an earlier period are void.
    period: AtomicU64,
    /// Held while a cell is being made.
    making: Mutex<()>,
}

impl Spares {
    /// Starts the thread. `most_of_a_kind` is how many unused cells of one kind may wait.
    pub(crate) fn new(plan: Arc<CellPlan>, idle: Arc<Idle>, most_of_a_kind: usize) -> Self {
        let (orders, received) = sync_channel(most_of_a_kind);
        let shared = Arc::new(Shared::default());
        let maker = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("spare cells".to_owned())
                .spawn(move || make(&received, &shared, &plan, &idle, most_of_a_kind))
        };
        Self {
            orders: Some(orders),
            maker: maker.ok(), // without it, runs start their cells themselves
            shared,
        }
    }

    /// Asks for a cell of this kind. Does not block; a full queue says that enough are on their way.
    pub(crate) fn order(&self, key: CellKey) {
        let period = self.shared.period.load(Ordering::Acquire);
        if let Some(orders) = &self.orders {
            let _ = orders.try_send(Order { key, period });
        }
    }

    /// Voids all orders, and waits for the one that is being carried out.
    pub(crate) fn void(&self) {
        self.shared.period.fetch_add(1, Ordering::AcqRel);
        drop(
            self.shared
                .making
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.shared.period.fetch_add(1, Ordering::AcqRel);
        drop(self.orders.take());
        if let Some(maker) = self.maker.take() {
            let _ = maker.join();
        }
    }
}

fn make(
    orders: &Receiver<Order>,
    shared: &Shared,
    plan: &CellPlan,
    idle: &Idle,
    most_of_a_kind: usize,
) {
    for Order { key, period } in orders {
        let _making = shared.making.lock().unwrap_or_else(PoisonError::into_inner);
        if period != shared.period.load(Ordering::Acquire) || idle.unused(&key) >= most_of_a_kind {
            continue;
        }
        // A failure shows in the run that needs the cell: it starts one itself, and reports.
        if let Ok(cell) = Cell::start(plan, key) {
            idle.give(cell);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::{Sandbox, SandboxConfig};

    #[test]
    fn a_cell_that_is_thrown_away_is_replaced_and_closing_leaves_none() {
        let sandbox = Sandbox::new(SandboxConfig {
            one_shot_cells: true,
            slots: Some(2),
            ..SandboxConfig::default()
        })
        .expect("this host can isolate");
        let request = crate::RunRequest::python(&b"print('ok')"[..]);
        let run = || {
            let report = sandbox.run(&request).expect("the sandbox works");
            assert_eq!(report.stdout.bytes, b"ok\n");
        };
        let waits = || sandbox.idle.len();
        assert_eq!(waits(), 1, "the first cell");
        for _ in 0..3 {
            run(); // takes the one that waits
            let deadline = Instant::now() + Duration::from_secs(20);
            while waits() == 0 && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(waits(), 1, "a spare");
        }
        run();
        sandbox.close_idle_cells();
        assert_eq!(waits(), 0);
        run(); // none waits: it starts its own
    }
}
