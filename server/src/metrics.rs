//! What Prometheus reads at `/metrics`.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use executor::{LimitKind, Outcome, RunReport, SandboxError};
use judge::Verdict;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::dispatch::Refused;
use crate::queue::Load;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    path: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Path {
    path: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Word {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    outcome: &'static str,
    path: &'static str,
}

type Seconds = Histogram;

/// Counters and histograms; writing one never blocks another for long.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    request_time: Family<Path, Seconds, fn() -> Seconds>,
    queue_time: Seconds,
    refused: Family<Word, Counter>,
    runs: Family<RunLabels, Counter>,
    run_time: Seconds,
    setup_time: Seconds,
    cpu_time: Counter<f64, AtomicU64>,
    verdicts: Family<Word, Counter>,
    cached_verdicts: Counter,
    gauges: Gauges,
}

#[derive(Default)]
struct Gauges {
    waiting: Gauge,
    running: Gauge,
    clients: Gauge,
    connections: Gauge,
    judge_calls: Gauge,
    body_bytes: Gauge,
}

/// What is measured at the moment it is read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) load: Load,
    pub(crate) connections: usize,
    pub(crate) judge_calls: usize,
    pub(crate) body_bytes: usize,
}

fn seconds() -> Seconds {
    // From a warm run's fraction of a millisecond to the longest time limits.
    Histogram::new([
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
        60.0, 300.0,
    ])
}

impl Metrics {
    pub(crate) fn new(build: &[(&'static str, String)], slots: usize) -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("codejury"),
            requests: Family::default(),
            request_time: Family::new_with_constructor(seconds),
            queue_time: seconds(),
            refused: Family::default(),
            runs: Family::default(),
            run_time: seconds(),
            setup_time: seconds(),
            cpu_time: Counter::default(),
            verdicts: Family::default(),
            cached_verdicts: Counter::default(),
            gauges: Gauges::default(),
        };
        metrics.registered(build, slots)
    }

    fn registered(mut self, build: &[(&'static str, String)], slots: usize) -> Self {
        let registry = &mut self.registry;
        let labels: Vec<(&'static str, String)> = build.to_vec();
        registry.register(
            "build",
            "Version, isolation, backend and interpreter",
            Info::new(labels),
        );
        let slots_gauge: Gauge = Gauge::default();
        slots_gauge.set(slots as i64);
        registry.register("slots", "Runs that may go on at once", slots_gauge);
        registry.register("requests", "Answered requests", self.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "From a request's last byte to its answer, waiting included",
            Unit::Seconds,
            self.request_time.clone(),
        );
        registry.register_with_unit(
            "queue_duration",
            "Waiting for a slot",
            Unit::Seconds,
            self.queue_time.clone(),
        );
        registry.register(
            "refused_runs",
            "Runs refused for load",
            self.refused.clone(),
        );
        registry.register(
            "runs",
            "Finished runs by how they ended and how they were started",
            self.runs.clone(),
        );
        registry.register_with_unit(
            "run_duration",
            "Runs, setup included",
            Unit::Seconds,
            self.run_time.clone(),
        );
        registry.register_with_unit(
            "setup_duration",
            "Setup of runs, never charged to them",
            Unit::Seconds,
            self.setup_time.clone(),
        );
        registry.register_with_unit(
            "run_cpu",
            "CPU time of all runs",
            Unit::Seconds,
            self.cpu_time.clone(),
        );
        registry.register("verdicts", "Verdicts by error type", self.verdicts.clone());
        registry.register(
            "cached_verdicts",
            "Verdicts that were known already",
            self.cached_verdicts.clone(),
        );
        let gauges = &self.gauges;
        for (name, help, gauge) in [
            ("queue_waiting", "Runs waiting for a slot", &gauges.waiting),
            ("queue_running", "Runs going on", &gauges.running),
            (
                "queue_clients",
                "Clients with a run waiting",
                &gauges.clients,
            ),
            ("connections", "Open connections", &gauges.connections),
            (
                "judge_calls",
                "Calls of /v1/judge going on",
                &gauges.judge_calls,
            ),
            ("body_bytes", "Request bodies held", &gauges.body_bytes),
        ] {
            registry.register(name, help, gauge.clone());
        }
        self
    }

    pub(crate) fn answered(&self, path: &'static str, code: u16, time: Duration) {
        self.requests.get_or_create(&Answered { path, code }).inc();
        self.request_time
            .get_or_create(&Path { path })
            .observe(time.as_secs_f64());
    }

    pub(crate) fn queued_for(&self, time: Duration) {
        self.queue_time.observe(time.as_secs_f64());
    }

    pub(crate) fn refused(&self, why: Refused) {
        let kind = match why {
            Refused::Full => "full",
            Refused::Waited => "waited",
        };
        self.refused.get_or_create(&Word { kind }).inc();
    }

    pub(crate) fn ran(&self, result: &Result<RunReport, SandboxError>, time: Duration) {
        let (outcome, path) = match result {
            Ok(report) => {
                self.run_time.observe(time.as_secs_f64());
                self.setup_time
                    .observe(report.usage.setup_time.as_secs_f64());
                self.cpu_time.inc_by(report.usage.cpu_time().as_secs_f64());
                let path = match report.path {
                    executor::Path::Cold => "cold",
                    executor::Path::Warm => "warm",
                };
                (outcome_word(report.outcome), path)
            }
            Err(SandboxError::Cancelled) => ("cancelled", "none"),
            Err(SandboxError::InvalidRequest(_)) => ("refused", "none"),
            Err(_) => ("sandbox_error", "none"),
        };
        self.runs.get_or_create(&RunLabels { outcome, path }).inc();
    }

    pub(crate) fn judged(&self, verdict: &Verdict) {
        let kind = verdict.error_type.as_str();
        self.verdicts.get_or_create(&Word { kind }).inc();
        if verdict.cached {
            self.cached_verdicts.inc();
        }
    }

    /// Everything, in the text format.
    pub(crate) fn text(&self, now: Snapshot) -> String {
        let gauges = &self.gauges;
        for (gauge, value) in [
            (&gauges.waiting, now.load.waiting),
            (&gauges.running, now.load.running),
            (&gauges.clients, now.load.clients),
            (&gauges.connections, now.connections),
            (&gauges.judge_calls, now.judge_calls),
            (&gauges.body_bytes, now.body_bytes),
        ] {
            gauge.set(value as i64);
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Exited { code: 0 } => "exited_zero",
        Outcome::Exited { .. } => "exited_nonzero",
        Outcome::Signaled { .. } => "signaled",
        Outcome::LimitExceeded { limit } => match limit {
            LimitKind::WallTime => "wall_limit",
            LimitKind::CpuTime => "cpu_limit",
            LimitKind::Memory => "memory_limit",
            LimitKind::Output => "output_limit",
        },
        Outcome::CellLost => "cell_lost",
    }
}
