//! Hostile programs as data, and what one driver needs to run them.
//!
//! Each file of `tests/escape` and `tests/limits` is one attack. Its header says what must happen
//! ([`case`]); the program itself tries the attack from inside and prints `contained`, or
//! `ESCAPED:` and how. What it cannot see is checked from outside: processes, mounts and
//! descriptors left over ([`watch`]), host secrets and listeners it could have reached ([`host`]).
//! A [`worker`] process owns one sandbox and judges one case at a time, so that a case that takes
//! its supervisor down is a failed test and not the end of the suite. On the wasm backend that worker
//! is a process to which everything that makes isolation natively is forbidden ([`unprivileged`]).

pub mod case;
pub mod host;
pub mod unprivileged;
pub mod verdicts;
pub mod watch;
pub mod worker;
