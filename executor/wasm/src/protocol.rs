//! What supervisor and worker say to each other: one module, both sides compile it.
//!
//! A message is a JSON header that ends with the lengths of the blobs behind it, then the blobs. A
//! worker says [`Hello`] once, then answers each [`Job`] with one [`Answer`].

use std::io::{self, Read, Write};

use executor::Limits;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// No header of ours comes near this.
const MAX_HEADER: u32 = 16 << 20;

/// A worker's first message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Why it cannot run anything, if it cannot.
    pub(crate) failed: Option<String>,
    /// Whether the process has put itself behind its seccomp filter.
    pub(crate) confined: bool,
}

/// A run. Blobs: the program, standard input, then `args` arguments, then path and content of
/// `files` files, then `collect` paths.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) args: usize,
    pub(crate) files: usize,
    pub(crate) collect: usize,
    pub(crate) environ: Vec<String>,
    pub(crate) limits: WireLimits,
    pub(crate) report: bool,
    pub(crate) seed: u64,
    /// `None` in plain mode.
    pub(crate) fuel_per_second: Option<u64>,
}

/// [`Limits`] on the wire.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireLimits {
    wall_time: std::time::Duration,
    cpu_time: std::time::Duration,
    memory_bytes: u64,
    stdout_bytes: u64,
    stderr_bytes: u64,
    open_files: u32,
    file_size_bytes: u64,
    scratch_bytes: u64,
    scratch_inodes: u64,
}

impl From<&Limits> for WireLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            wall_time: limits.wall_time,
            cpu_time: limits.cpu_time,
            memory_bytes: limits.memory_bytes,
            stdout_bytes: limits.stdout_bytes,
            stderr_bytes: limits.stderr_bytes,
            open_files: limits.open_files,
            file_size_bytes: limits.file_size_bytes,
            scratch_bytes: limits.scratch_bytes,
            scratch_inodes: limits.scratch_inodes,
        }
    }
}

impl From<WireLimits> for Limits {
    fn from(limits: WireLimits) -> Self {
        Self {
            wall_time: limits.wall_time,
            cpu_time: limits.cpu_time,
            memory_bytes: limits.memory_bytes,
            stdout_bytes: limits.stdout_bytes,
            stderr_bytes: limits.stderr_bytes,
            // Threads run inside the one that starts them, and there are no processes.
            tasks: 1,
            open_files: limits.open_files,
            file_size_bytes: limits.file_size_bytes,
            scratch_bytes: limits.scratch_bytes,
            scratch_inodes: limits.scratch_inodes,
        }
    }
}

/// What came of a run. Blobs: standard output, standard error, the report, then path and content of
/// `collected` files.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) end: End,
    pub(crate) output_limit: bool,
    /// Memory was denied.
    pub(crate) memory_denied: bool,
    pub(crate) stdout_total: u64,
    pub(crate) stderr_total: u64,
    pub(crate) collected: usize,
    /// `None` in plain mode.
    pub(crate) fuel: Option<u64>,
    pub(crate) cpu_time: std::time::Duration,
    pub(crate) wall_time: std::time::Duration,
    pub(crate) setup_time: std::time::Duration,
    pub(crate) memory_peak_bytes: u64,
}

/// How the guest ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    Exited(u8),
    Signaled(i32),
    CpuLimit,
    WallLimit,
    /// Standard output went over its cap and the run ended there.
    OutputLimit,
    /// Something of ours is broken; the text says what.
    Failed(String),
}

/// The header as it is sent: the message, and how long each blob is.
#[derive(Serialize, Deserialize)]
struct Envelope<M> {
    message: M,
    blobs: Vec<u64>,
}

/// Sends a message. Blocks until the other side has taken it.
pub(crate) fn send<M: Serialize>(
    to: &mut impl Write,
    message: M,
    blobs: &[&[u8]],
) -> io::Result<()> {
    let envelope = Envelope {
        message,
        blobs: blobs.iter().map(|blob| blob.len() as u64).collect(),
    };
    let header = serde_json::to_vec(&envelope)?;
    let length = u32::try_from(header.len())
        .ok()
        .filter(|&length| length <= MAX_HEADER)
        .ok_or_else(|| io::Error::other("a message's header is too long"))?;
    // Small messages go out in one piece.
    let mut start = Vec::with_capacity(4 + header.len() + 4096);
    start.extend_from_slice(&length.to_le_bytes());
    start.extend_from_slice(&header);
    for blob in blobs {
        if start.len() + blob.len() <= 64 * 1024 {
            start.extend_from_slice(blob);
        } else {
            to.write_all(&start)?;
            start.clear();
            to.write_all(blob)?;
        }
    }
    to.write_all(&start)
}

/// Receives a message whose blobs are together at most `most_bytes` long. `None`: the other side
/// has gone, between two messages.
pub(crate) fn receive<M: DeserializeOwned>(
    from: &mut impl Read,
    most_bytes: u64,
) -> io::Result<Option<(M, Vec<Vec<u8>>)>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut length = [0; 4];
    let mut have = 0;
    while have < 4 {
        match from.read(&mut length[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let length = u32::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(bad("a header of impossible length"));
    }
    let mut header = vec![0; length as usize];
    from.read_exact(&mut header)?;
    let envelope: Envelope<M> =
        serde_json::from_slice(&header).map_err(|e| bad(&format!("a malformed header: {e}")))?;
    let total = envelope
        .blobs
        .iter()
        .try_fold(0u64, |sum, &blob| sum.checked_add(blob));
    if total.is_none_or(|total| total > most_bytes) {
        return Err(bad("more bytes than a run can bring"));
    }
    let mut blobs = Vec::with_capacity(envelope.blobs.len());
    for length in envelope.blobs {
        let mut blob = vec![0; length as usize];
        from.read_exact(&mut blob)?;
        blobs.push(blob);
    }
    Ok(Some((envelope.message, blobs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were_sent_and_bad_ones_are_refused() {
        let hello = || Hello {
            failed: None,
            confined: true,
        };
        let large = vec![7; 100_000];
        let mut wire = Vec::new();
        send(&mut wire, hello(), &[b"a", &large, b"", b"z"]).expect("sent");
        let (message, blobs) = receive::<Hello>(&mut wire.as_slice(), 1 << 20)
            .expect("received")
            .expect("a message");
        assert!(message.confined);
        assert_eq!(blobs, [&b"a"[..], &large, b"", b"z"]);

        assert!(
            receive::<Hello>(&mut wire.as_slice(), 1000).is_err(),
            "too large"
        );
        for cut in 1..wire.len().min(200) {
            assert!(
                receive::<Hello>(&mut &wire[..cut], 1 << 20).is_err(),
                "cut at {cut}"
            );
        }
        assert!(
            receive::<Hello>(&mut &b""[..], 0)
                .expect("no message")
                .is_none()
        );
        assert!(receive::<Hello>(&mut &b"\xff\xff\xff\xff"[..], 0).is_err());
        assert!(receive::<Hello>(&mut &b"\x02\0\0\0[]"[..], 0).is_err());
    }
}
