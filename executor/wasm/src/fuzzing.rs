//! A guest in this process, for a fuzzer (feature `fuzzing`): no worker, no supervisor.

use std::sync::Arc;
use std::time::Duration;

use executor::{Limits, MIB};
use wasmtime::Module;

use crate::engine::{Mode, engine_at};
use crate::guest::{Finished, Guests};
use crate::memory::Place;
use crate::protocol::{Answer, End, Job};

/// A module that is ready to run again and again.
pub struct Target(Guests);

impl Target {
    /// Compiles a module that exports [`RUN`](crate::RUN) and `memory`.
    ///
    /// # Errors
    ///
    /// It is no such module.
    pub fn new(module: &[u8]) -> wasmtime::Result<Self> {
        let engine = engine_at(Mode::Deterministic, Place::new(None)?)?;
        let module = Module::from_binary(&engine, module)?;
        Guests::of(engine, &module, Arc::from([]), Mode::Deterministic).map(Self)
    }

    /// Runs it on this input, with a file `given` and two that are collected. Says how it ended, with
    /// all that it left, in words that are the same if and only if the runs were.
    ///
    /// # Panics
    ///
    /// The guest broke what runs it.
    pub fn run(&self, stdin: &[u8]) -> String {
        let limits = Limits {
            cpu_time: Duration::from_millis(20),
            wall_time: Duration::from_secs(2),
            memory_bytes: 16 * MIB,
            stdout_bytes: 64 << 10,
            stderr_bytes: 64 << 10,
            file_size_bytes: MIB,
            scratch_bytes: MIB,
            scratch_inodes: 64,
            open_files: 32,
            ..Limits::default()
        };
        let job = Job {
            args: 1,
            files: 1,
            collect: 2,
            environ: vec!["HOME=/tmp".to_owned()],
            limits: (&limits).into(),
            report: true,
            seed: 0,
            fuel_per_second: Some(1_000_000_000),
        };
        let blobs: [&[u8]; 7] = [
            b"unused",
            stdin,
            b"argument",
            b"given",
            b"some bytes",
            b"given",
            b"/tmp/a",
        ];
        let blobs = blobs.into_iter().map(<[u8]>::to_vec).collect();
        let Finished {
            answer, written, ..
        } = self.0.run(job, blobs).expect("a job as it must be");
        if let End::Failed(reason) = &answer.end {
            panic!("the guest broke its host: {reason}");
        }
        // The one thing that is measured.
        let answer = Answer {
            setup_time: Duration::ZERO,
            ..answer
        };
        format!(
            "{answer:?} {:?} {:?} {:?} {:?}",
            written.stdout.bytes, written.stderr.bytes, written.report, written.collected
        )
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Target")
    }
}
