//! What happened to one run: the evidence, the pure function that reads it, and its answer.

use std::time::Duration;

use serde::Serialize;

/// A limit that a run can cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Wall-clock time.
    WallTime,
    /// CPU time of all processes of the run.
    CpuTime,
    /// Memory of the whole run.
    Memory,
    /// Bytes on standard output.
    Output,
}

/// What happened to one run, seen from outside. A fact; `judge` decides what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Ended by itself with this exit code.
    Exited {
        /// The exit status, 0 to 255.
        code: u8,
    },
    /// Ended by a signal that we did not send.
    Signaled {
        /// The signal's number.
        signal: i32,
    },
    /// Ended by us or by the kernel because it crossed this limit first.
    #[serde(rename = "limit")]
    LimitExceeded {
        /// Which limit.
        limit: LimitKind,
    },
    /// It took down two fresh cells while a control program ran well in a third.
    CellLost,
}

/// Everything known about how a run ended, before anybody decides what it was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence {
    /// The main process's wait status.
    pub status: i32,
    /// Pid 1 ended the run at its wall limit, or we did because pid 1 no longer answered.
    pub wall_limit: bool,
    /// Pid 1 ended the run at its CPU limit.
    pub cpu_limit: bool,
    /// The memory watcher ended the run, or the kernel killed in its cgroup.
    pub memory_limit: bool,
    /// Standard output went over its cap.
    pub output_limit: bool,
    /// CPU time of the whole run.
    pub cpu_time: Duration,
    /// How long its main thread waited for a processor; read at the wall limit, else zero.
    pub run_delay: Duration,
    /// What the run was allowed.
    pub cpu_time_limit: Duration,
}

/// Turns evidence into an outcome; no other place does.
///
/// A limit's own flag comes before the signal it ended with: a `SIGKILL` nobody owns up to is the
/// program's own.
pub fn classify(evidence: &Evidence) -> Outcome {
    let limit = |limit| Outcome::LimitExceeded { limit };
    let signal = libc::WIFSIGNALED(evidence.status).then(|| libc::WTERMSIG(evidence.status));
    let cpu_spent = evidence.cpu_time >= evidence.cpu_time_limit;
    if evidence.wall_limit {
        // With both limits alike, the clock and the CPU meter of a busy loop reach them within a
        // tick of each other. What the program did decides, not which meter was read first, nor
        // how many others wanted its processor.
        let busy = evidence.cpu_time + evidence.run_delay >= evidence.cpu_time_limit / 2;
        return limit(if busy {
            LimitKind::CpuTime
        } else {
            LimitKind::WallTime
        });
    }
    if evidence.cpu_limit || cpu_spent && matches!(signal, Some(libc::SIGXCPU | libc::SIGKILL)) {
        return limit(LimitKind::CpuTime);
    }
    if evidence.output_limit {
        return limit(LimitKind::Output);
    }
    if evidence.memory_limit {
        return limit(LimitKind::Memory);
    }
    match signal {
        Some(signal) => Outcome::Signaled { signal },
        None => Outcome::Exited {
            code: libc::WEXITSTATUS(evidence.status) as u8,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> Evidence {
        let second = Duration::from_secs(1);
        Evidence {
            status: code << 8,
            cpu_time_limit: second,
            ..Evidence::default()
        }
    }

    fn killed(signal: i32) -> Evidence {
        Evidence {
            status: signal,
            ..exited(0)
        }
    }

    #[test]
    fn classify_prefers_the_cause_to_its_symptom() {
        let kill = libc::SIGKILL;
        let spent = Duration::from_secs(1);
        let limit = |limit| Outcome::LimitExceeded { limit };
        let cases = [
            ("clean exit", exited(0), Outcome::Exited { code: 0 }),
            ("exit status", exited(120), Outcome::Exited { code: 120 }),
            (
                "own signal",
                killed(libc::SIGSEGV),
                Outcome::Signaled {
                    signal: libc::SIGSEGV,
                },
            ),
            (
                "a SIGKILL nobody owns up to",
                killed(kill),
                Outcome::Signaled { signal: kill },
            ),
            (
                "oom kill looks like SIGKILL",
                Evidence {
                    memory_limit: true,
                    ..killed(kill)
                },
                limit(LimitKind::Memory),
            ),
            (
                "a child's oom kill, main went on",
                Evidence {
                    memory_limit: true,
                    ..exited(0)
                },
                limit(LimitKind::Memory),
            ),
            (
                "our timer looks like SIGKILL",
                Evidence {
                    wall_limit: true,
                    ..killed(kill)
                },
                limit(LimitKind::WallTime),
            ),
            (
                "busy at the wall limit",
                Evidence {
                    wall_limit: true,
                    cpu_time: spent * 9 / 10,
                    ..killed(kill)
                },
                limit(LimitKind::CpuTime),
            ),
            (
                "busy, when it got a processor at all",
                Evidence {
                    wall_limit: true,
                    cpu_time: spent / 4,
                    run_delay: spent,
                    ..killed(kill)
                },
                limit(LimitKind::CpuTime),
            ),
            (
                "idle most of the time",
                Evidence {
                    wall_limit: true,
                    cpu_time: spent / 4,
                    ..killed(kill)
                },
                limit(LimitKind::WallTime),
            ),
            (
                "our CPU meter",
                Evidence {
                    cpu_limit: true,
                    ..killed(kill)
                },
                limit(LimitKind::CpuTime),
            ),
            (
                "the kernel's CPU limit",
                Evidence {
                    cpu_time: spent,
                    ..killed(libc::SIGXCPU)
                },
                limit(LimitKind::CpuTime),
            ),
            (
                "the kernel's hard CPU limit",
                Evidence {
                    cpu_time: spent,
                    ..killed(kill)
                },
                limit(LimitKind::CpuTime),
            ),
            (
                "SIGXCPU sent to itself",
                killed(libc::SIGXCPU),
                Outcome::Signaled {
                    signal: libc::SIGXCPU,
                },
            ),
            (
                "output over its cap, then a clean exit",
                Evidence {
                    output_limit: true,
                    ..exited(0)
                },
                limit(LimitKind::Output),
            ),
            (
                "late but by itself",
                Evidence {
                    cpu_time: spent,
                    ..exited(0)
                },
                Outcome::Exited { code: 0 },
            ),
        ];
        for (name, evidence, expected) in cases {
            assert_eq!(classify(&evidence), expected, "case: {name}");
        }
    }
}
