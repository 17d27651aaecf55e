//! What the caller decides: limits, comparison, early stops, retries; and which of several wishes
//! wins.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use executor::{Limits, Network};
use serde::{Deserialize, Serialize};

use crate::{Compare, Integrity, LimitOverrides, Problem, Suite};

/// How to build a [`Judge`](crate::Judge).
#[derive(Clone, Debug)]
pub struct JudgeConfig {
    /// Threads that make runs; each test case is one run.
    pub workers: usize,
    /// What flags say; wins over everything.
    pub flags: Overrides,
    /// What the configuration says for single datasets, by slug; wins over rows.
    pub datasets: BTreeMap<String, Overrides>,
    /// Use the limits that a problem's source states where neither flags, configuration nor the
    /// row's own limits say otherwise.
    pub source_limits: bool,
    /// Which test case gives a problem its error type.
    pub aggregate: Aggregate,
    /// After this many failing test cases of a submission, in dataset order, the rest is skipped.
    pub stop_after_failures: Option<u32>,
    /// After this many timeouts of a submission, in dataset order, the rest is skipped.
    pub max_timeouts: Option<u32>,
    /// Which integrity is acceptable.
    pub integrity: IntegrityRequest,
    /// What network a run sees.
    pub network: Network,
    /// How often a run that failed for our own reasons is repeated.
    pub retries: u32,
    /// Wait before the first repeat; each further one waits four times as long.
    pub retry_delay: Duration,
    /// After this many runs in a row that failed for our own reasons, repeats included, judging
    /// ends with an error: a broken host must not turn into thousands of api_errors.
    pub max_failures_in_a_row: u32,
    /// Where verdicts are kept for the next time.
    pub cache: CacheConfig,
}

impl Default for JudgeConfig {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            flags: Overrides::default(),
            datasets: BTreeMap::new(),
            source_limits: false,
            aggregate: Aggregate::First,
            stop_after_failures: None,
            max_timeouts: Some(3),
            integrity: IntegrityRequest::Auto,
            network: Network::None,
            retries: 2,
            retry_delay: Duration::from_millis(250),
            max_failures_in_a_row: 20,
            cache: CacheConfig::Memory,
        }
    }
}

/// Comparison and limits that one source of settings asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// The comparison.
    pub compare: Option<Compare>,
    /// Single limits.
    pub limits: LimitOverrides,
}

/// Which test case gives a problem its error type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// The first failing one in dataset order.
    #[default]
    First,
    /// The worst: syntax error, runtime error, timeout, wrong answer.
    Worst,
}

/// Which integrity a caller accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntegrityRequest {
    /// The best that the problem's kind has.
    #[default]
    Auto,
    /// Tests and candidate in separate processes; an error for kinds that lack it.
    Isolated,
    /// Tests and candidate may share a process.
    Shared,
}

/// Where verdicts are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CacheConfig {
    /// Nowhere.
    Off,
    /// In this process, bounded.
    #[default]
    Memory,
    /// In this process and in a folder, which later processes read.
    Folder(PathBuf),
}

/// What holds for one problem once every wish is heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How output is compared; for `call` only a `float(…)` matters.
    pub compare: Compare,
    /// What each run may use.
    pub limits: Limits,
    /// The integrity its verdicts have.
    pub integrity: Integrity,
}

impl JudgeConfig {
    /// What is stated for `problem`, and by whom first: flag, then the dataset's section of the
    /// configuration, then the row, then its source's limits (if asked for).
    pub fn stated(&self, problem: &Problem) -> Overrides {
        let section = self.datasets.get(&problem.dataset);
        let compare = self
            .flags
            .compare
            .or_else(|| section.and_then(|section| section.compare))
            .or(problem.compare);
        let mut limits = self.flags.limits;
        if let Some(section) = section {
            limits = limits.or(&section.limits);
        }
        limits = limits.or(&problem.limits);
        if self.source_limits {
            limits = limits.or(&problem.source_limits);
        }
        Overrides { compare, limits }
    }

    /// What holds for `problem`: what is stated, over the built-in defaults.
    pub fn rules(&self, problem: &Problem) -> Rules {
        let Overrides { compare, limits } = self.stated(problem);
        let compare = compare.unwrap_or(Compare::Tokens);
        let integrity = match problem.suite {
            Suite::Stdio { .. } | Suite::Call { .. } => Integrity::Isolated,
            Suite::Check { .. } | Suite::Asserts { .. } => Integrity::Shared,
        };
        Rules {
            compare,
            limits: limits.resolve(),
            integrity,
        }
    }
}

impl LimitOverrides {
    /// Each limit of `self`, or of `other` where `self` states none.
    pub fn or(&self, other: &Self) -> Self {
        Self {
            wall_time_ms: self.wall_time_ms.or(other.wall_time_ms),
            cpu_time_ms: self.cpu_time_ms.or(other.cpu_time_ms),
            memory_bytes: self.memory_bytes.or(other.memory_bytes),
            stdout_bytes: self.stdout_bytes.or(other.stdout_bytes),
            stderr_bytes: self.stderr_bytes.or(other.stderr_bytes),
            tasks: self.tasks.or(other.tasks),
            open_files: self.open_files.or(other.open_files),
            file_size_bytes: self.file_size_bytes.or(other.file_size_bytes),
            scratch_bytes: self.scratch_bytes.or(other.scratch_bytes),
            scratch_inodes: self.scratch_inodes.or(other.scratch_inodes),
        }
    }

    /// Whether a run could be made under each limit that is stated.
    ///
    /// # Errors
    ///
    /// The first that is too small to run anything or larger than any host: its name, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        const DAY_MS: u64 = 24 * 3600 * 1000;
        const LARGEST: u64 = 1 << 50;
        let bounds = [
            ("wall_time_ms", self.wall_time_ms, 1, DAY_MS),
            ("cpu_time_ms", self.cpu_time_ms, 1, 1024 * DAY_MS),
            ("memory_bytes", self.memory_bytes, 1, LARGEST),
            ("stdout_bytes", self.stdout_bytes, 0, LARGEST),
            ("stderr_bytes", self.stderr_bytes, 0, LARGEST),
            ("tasks", self.tasks.map(u64::from), 1, 32_768),
            ("open_files", self.open_files.map(u64::from), 8, 1 << 20),
            ("file_size_bytes", self.file_size_bytes, 0, LARGEST),
            ("scratch_bytes", self.scratch_bytes, 1, LARGEST),
            ("scratch_inodes", self.scratch_inodes, 1, 1 << 30),
        ];
        for (name, limit, least, most) in bounds {
            if let Some(limit) = limit
                && !(least..=most).contains(&limit)
            {
                return Err((name, format!("{limit} is not in {least}..={most}")));
            }
        }
        Ok(())
    }

    /// The limits stated here over the built-in ones. A CPU limit that nobody states is the wall
    /// limit.
    pub fn resolve(&self) -> Limits {
        let built_in = Limits::default();
        let wall_time = self
            .wall_time_ms
            .map_or(built_in.wall_time, Duration::from_millis);
        Limits {
            wall_time,
            cpu_time: self.cpu_time_ms.map_or(wall_time, Duration::from_millis),
            memory_bytes: self.memory_bytes.unwrap_or(built_in.memory_bytes),
            stdout_bytes: self.stdout_bytes.unwrap_or(built_in.stdout_bytes),
            stderr_bytes: self.stderr_bytes.unwrap_or(built_in.stderr_bytes),
            tasks: self.tasks.unwrap_or(built_in.tasks),
            open_files: self.open_files.unwrap_or(built_in.open_files),
            file_size_bytes: self.file_size_bytes.unwrap_or(built_in.file_size_bytes),
            scratch_bytes: self.scratch_bytes.unwrap_or(built_in.scratch_bytes),
            scratch_inodes: self.scratch_inodes.unwrap_or(built_in.scratch_inodes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_beats_section_beats_row_beats_source_beats_built_in() {
        let wall = |wall_time_ms| LimitOverrides {
            wall_time_ms,
            ..LimitOverrides::default()
        };
        let row = r#"{"problem_id":"a","dataset":"d","kind":"stdio","compare":"lines",
            "tests":[{"stdin":"","expected":""}],
            "limits":{"memory_bytes":7},"source_limits":{"wall_time_ms":4000}}"#;
        let mut problem = Problem::from_row(row).unwrap();
        let mut config = JudgeConfig::default();

        assert_eq!(
            config.rules(&problem).limits.wall_time,
            Duration::from_secs(30)
        );
        assert_eq!(config.rules(&problem).limits.memory_bytes, 7);
        assert_eq!(config.rules(&problem).compare, Compare::Lines);
        config.source_limits = true;
        let limits = config.rules(&problem).limits;
        assert_eq!(
            (limits.wall_time, limits.cpu_time),
            (Duration::from_secs(4), Duration::from_secs(4))
        );
        problem.limits = wall(Some(3000));
        assert_eq!(
            config.rules(&problem).limits.wall_time,
            Duration::from_secs(3)
        );
        let section = Overrides {
            compare: Some(Compare::Exact),
            limits: wall(Some(2000)),
        };
        config.datasets.insert("d".into(), section);
        assert_eq!(
            config.rules(&problem).limits.wall_time,
            Duration::from_secs(2)
        );
        assert_eq!(config.rules(&problem).compare, Compare::Exact);
        config.flags = Overrides {
            compare: Some(Compare::Tokens),
            limits: wall(Some(1000)),
        };
        assert_eq!(
            config.rules(&problem).limits.wall_time,
            Duration::from_secs(1)
        );
        assert_eq!(config.rules(&problem).compare, Compare::Tokens);
        problem.dataset = "other".into();
        config.flags = Overrides::default();
        assert_eq!(config.rules(&problem).compare, Compare::Lines);
    }
}
