//! Time as a guest sees it.
//!
//! In deterministic mode a second is a number of units of fuel: every instruction and every byte
//! the host moves brings the clock on, sleeping moves it at once, and nothing else does. A limit on
//! CPU time is then a limit on fuel, one on wall time a limit on fuel and sleep together.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::Stop;

/// What `time.time()` says at the start of every deterministic run: 2025-01-01 00:00 UTC.
const EPOCH_NS: u64 = 1_735_689_600_000_000_000;
/// What the monotonic clock says then. Not zero, which some programs take for "never".
const MONOTONIC_START_NS: u64 = 1_000_000_000;
const NS: u128 = 1_000_000_000;

/// The clock of one run, and what is left of its time limits.
#[derive(Debug)]
pub(crate) enum Clock {
    /// Stands still: while a snapshot is made.
    Still,
    /// Driven by fuel.
    Fuel(FuelClock),
    /// The host's.
    Real(RealClock),
}

/// See [`Clock::Fuel`].
#[derive(Debug)]
pub(crate) struct FuelClock {
    fuel_per_second: u64,
    cpu_fuel: u64,
    wall: Duration,
    slept: Duration,
    /// All fuel that this run may have used by now; `left` of it is not used.
    budget: u64,
    left: u64,
}

/// See [`Clock::Real`].
#[derive(Debug)]
pub(crate) struct RealClock {
    cpu: Duration,
    wall: Duration,
    begun: Instant,
    begun_cpu: Duration,
}

impl FuelClock {
    /// A run's clock at its start. `set_fuel` the guest with [`FuelClock::left`].
    pub(crate) fn new(fuel_per_second: u64, cpu: Duration, wall: Duration) -> Self {
        let mut clock = Self {
            fuel_per_second,
            cpu_fuel: 0,
            wall,
            slept: Duration::ZERO,
            budget: 0,
            left: 0,
        };
        clock.cpu_fuel = clock.fuel_of(cpu).max(1);
        clock.budget = clock.budget_now();
        clock.left = clock.budget;
        clock
    }

    fn fuel_of(&self, time: Duration) -> u64 {
        let fuel = time
            .as_nanos()
            .saturating_mul(u128::from(self.fuel_per_second))
            / NS;
        // wasmtime counts in an i64.
        u64::try_from(fuel).unwrap_or(u64::MAX).min(i64::MAX as u64)
    }

    fn budget_now(&self) -> u64 {
        self.cpu_fuel
            .min(self.fuel_of(self.wall.saturating_sub(self.slept)))
    }

    /// Fuel used so far.
    pub(crate) fn used(&self) -> u64 {
        self.budget.saturating_sub(self.left)
    }

    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    fn cpu_time(&self) -> Duration {
        let ns = u128::from(self.used()) * NS / u128::from(self.fuel_per_second);
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// Takes over what the guest's counter says.
    pub(crate) fn sync(&mut self, left: u64) {
        self.left = left.min(self.budget);
    }

    /// Uses fuel for work of the host.
    pub(crate) fn charge(&mut self, fuel: u64) -> Result<(), Stop> {
        match self.left.checked_sub(fuel) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Stop::Time)
            }
        }
    }

    fn sleep(&mut self, time: Duration) -> Result<(), Stop> {
        let used = self.used();
        self.slept = self.slept.saturating_add(time);
        let budget = self.budget_now();
        if self.slept >= self.wall || budget <= used {
            // What is charged is the limit, not how far beyond it the guest wanted to sleep.
            self.slept = self.wall.saturating_sub(self.cpu_time());
            return Err(Stop::Sleep);
        }
        self.budget = budget;
        self.left = budget - used;
        Ok(())
    }

    /// Whether it is the CPU limit, not the wall limit, that bounds the fuel.
    pub(crate) fn cpu_is_the_bound(&self) -> bool {
        self.budget == self.cpu_fuel
    }
}

impl RealClock {
    pub(crate) fn new(cpu: Duration, wall: Duration) -> Self {
        Self {
            cpu,
            wall,
            begun: Instant::now(),
            begun_cpu: thread_cpu_time(),
        }
    }

    fn cpu_time(&self) -> Duration {
        thread_cpu_time().saturating_sub(self.begun_cpu)
    }

    /// Whether a limit is crossed.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        if self.cpu_time() >= self.cpu {
            Err(Stop::Time)
        } else if self.begun.elapsed() >= self.wall {
            Err(Stop::Sleep)
        } else {
            Ok(())
        }
    }

    fn sleep(&self, time: Duration) -> Result<(), Stop> {
        let room = self.wall.saturating_sub(self.begun.elapsed());
        std::thread::sleep(time.min(room));
        self.check()
    }
}

fn thread_cpu_time() -> Duration {
    // Cannot fail for the thread's own clock.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

impl Clock {
    /// CPU time of the run so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        match self {
            Self::Still => Duration::ZERO,
            Self::Fuel(clock) => clock.cpu_time(),
            Self::Real(clock) => clock.cpu_time(),
        }
    }

    /// Wall time of the run so far.
    pub(crate) fn wall_time(&self) -> Duration {
        match self {
            Self::Still => Duration::ZERO,
            Self::Fuel(clock) => clock.cpu_time() + clock.slept,
            Self::Real(clock) => clock.begun.elapsed(),
        }
    }

    /// What a clock that nobody can set says, in nanoseconds.
    pub(crate) fn monotonic_ns(&self) -> u64 {
        MONOTONIC_START_NS.saturating_add(nanoseconds(self.wall_time()))
    }

    /// Nanoseconds since 1970.
    pub(crate) fn realtime_ns(&self) -> u64 {
        match self {
            Self::Real(_) => {
                let now = std::time::SystemTime::now();
                let since = now.duration_since(std::time::UNIX_EPOCH);
                nanoseconds(since.unwrap_or_default())
            }
            _ => EPOCH_NS.saturating_add(nanoseconds(self.wall_time())),
        }
    }

    /// Lets `time` pass.
    pub(crate) fn sleep(&mut self, time: Duration) -> Result<(), Stop> {
        match self {
            Self::Still => Ok(()),
            Self::Fuel(clock) => clock.sleep(time),
            Self::Real(clock) => clock.sleep(time),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn sleeping_uses_up_wall_time_and_leaves_cpu_time() {
        let mut clock = FuelClock::new(1000, SECOND * 10, SECOND * 2);
        assert_eq!((clock.left(), clock.cpu_is_the_bound()), (2000, false));
        clock.charge(500).expect("within the limit");
        clock.sleep(SECOND).expect("within the limit");
        assert_eq!((clock.used(), clock.left()), (500, 500));
        assert_eq!(clock.sleep(SECOND), Err(Stop::Sleep));
        assert_eq!(Clock::Fuel(clock).wall_time(), SECOND * 2);
    }

    #[test]
    fn the_smaller_limit_bounds_the_fuel() {
        let mut clock = FuelClock::new(1000, SECOND, SECOND * 3);
        assert!(clock.cpu_is_the_bound());
        clock.sleep(SECOND * 2).expect("within the limit");
        assert!(clock.cpu_is_the_bound());
        clock.charge(999).expect("within the limit");
        assert_eq!(clock.charge(2), Err(Stop::Time));
        assert_eq!(clock.used(), 1000);
    }

    #[test]
    fn an_endless_sleep_does_not_overflow() {
        let mut clock = FuelClock::new(u64::MAX, Duration::MAX, Duration::MAX);
        assert_eq!(clock.sleep(Duration::MAX), Err(Stop::Sleep));
    }
}
