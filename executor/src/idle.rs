//! Cells that wait for their next run, within a budget.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cells::{Cell, CellKey};

/// Idle cells, by what runs need. Too many, or too large ones, and those go first whose kind was not
/// asked for the longest.
#[derive(Debug)]
pub(crate) struct Idle {
    most_cells: usize,
    most_bytes: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    kinds: HashMap<CellKey, Kind>,
    cells: usize,
    bytes: u64,
    clock: u64,
}

#[derive(Debug, Default)]
struct Kind {
    /// The unused ones come first.
    cells: Vec<Cell>,
    /// When the last one came back.
    asked_at: u64,
}

impl Idle {
    pub(crate) fn new(most_cells: usize, most_bytes: u64) -> Self {
        Self {
            most_cells,
            most_bytes,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cell for such a run, if one waits; `unused`: one in which nothing has run.
    pub(crate) fn take(&self, key: &CellKey, unused: bool) -> Option<Cell> {
        let mut inner = self.lock();
        if unused && !inner.kinds.get(key)?.cells.first().is_some_and(is_unused) {
            return None;
        }
        inner.remove(key, unused)
    }

    /// How many of this kind wait in which nothing has run.
    pub(crate) fn unused(&self, key: &CellKey) -> usize {
        let inner = self.lock();
        let cells = inner.kinds.get(key).map(|kind| kind.cells.iter());
        cells.map_or(0, |cells| cells.filter(|cell| is_unused(cell)).count())
    }

    /// Keeps a clean cell. Others may have to go for it.
    pub(crate) fn give(&self, cell: Cell) {
        let mut evicted = Vec::new();
        let mut inner = self.lock();
        inner.clock += 1;
        let now = inner.clock;
        inner.cells += 1;
        inner.bytes += cell.own_bytes;
        let kind = inner.kinds.entry(cell.key.clone()).or_default();
        kind.asked_at = now;
        let place = if is_unused(&cell) {
            0
        } else {
            kind.cells.len()
        };
        kind.cells.insert(place, cell);
        while inner.cells > self.most_cells || inner.bytes > self.most_bytes && inner.cells > 1 {
            let Some(oldest) = inner.oldest() else { break };
            evicted.push(oldest);
        }
        drop(inner);
        drop(evicted); // ends processes: not under the lock
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().cells
    }

    /// Ends them all.
    pub(crate) fn clear(&self) {
        let cells = std::mem::take(&mut *self.lock());
        drop(cells); // ends processes: not under the lock
    }
}

impl Inner {
    /// Takes a cell of this kind, the first or the last. A kind without cells is forgotten: clients
    /// choose limits, so their number has no bound.
    fn remove(&mut self, key: &CellKey, first: bool) -> Option<Cell> {
        let kind = self.kinds.get_mut(key)?;
        let cell = if first && !kind.cells.is_empty() {
            kind.cells.remove(0)
        } else {
            kind.cells.pop()?
        };
        if kind.cells.is_empty() {
            self.kinds.remove(key);
        }
        self.cells -= 1;
        self.bytes -= cell.own_bytes;
        Some(cell)
    }

    fn oldest(&mut self) -> Option<Cell> {
        let key = self
            .kinds
            .iter()
            .min_by_key(|(_, kind)| kind.asked_at)
            .map(|(key, _)| key.clone())?;
        self.remove(&key, true)
    }
}

fn is_unused(cell: &Cell) -> bool {
    cell.runs == 0
}
