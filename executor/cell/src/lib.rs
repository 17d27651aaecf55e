//! The process that lives inside a cell.
//!
//! # Theory of operation
//!
//! ```text
//!  supervisor (one thread per run)   cell process = pid 1 of the cell       the run (pid >= 2)
//!    | exec, sockets, setup file ------>| build the root, lock down             |
//!    |<------- Ready -------------------|                                       |
//!    | payload: source, descriptors --->:- - - (read by the run, never pid 1) ->|
//!    | Run: limits -------------------->|                                       |
//!    |                                  |-- fork ------------------------------>| the checklist of child.rs
//!    |                                  |<-- setup failure, or end of file -----| execve = the program starts
//!    |                                  | watches wall, CPU, memory             | user code
//!    | Stop (output limit, cancel) ---->|-- kill(-1) -------------------------->|
//!    |                                  |<-- wait4: the kernel's own word ------|
//!    |                                  | nobody left? scratch empty? = clean   |
//!    |<------- Ended: status, usage, proof                                      |
//! ```
//!
//! - Pid 1 has one thread, so a forked run inherits no lock that nobody can release. It holds no
//!   byte of any submission: the payload lies in a socket that only the run reads.
//! - The run's exit status comes from `wait4` in pid 1, which the run can neither signal, trace nor
//!   write to. Limits are flags of pid 1 or of the supervisor, never guessed from a `SIGKILL`.
//! - End of file on the control socket means the supervisor is gone: pid 1 exits, and the kernel
//!   ends every process of its pid namespace. Pid 1 always sleeps in a poll that has this socket.
//! - Between two runs the cell is proven clean ([`Ended::dirty`](protocol::Ended)): no process is
//!   left, the scratch space is what it was, no socket stayed. A dirty cell is never repaired, the
//!   supervisor throws it away.
//! - Why not one process per run that sets up its own namespaces: making them costs several times
//!   what a trivial program costs, and the kernel tears them down serially.
//!
//! This crate is compiled twice: as a library into `executor` for [`protocol`], and as the
//! `codejury-cell` executable that `executor` carries inside itself.

pub mod protocol;
