//! Bounded capture of what a program writes.

use crate::Captured;

/// Keeps the head of a stream, and if asked its tail, and counts all of it.
#[derive(Debug)]
pub struct Capture {
    head: Vec<u8>,
    head_cap: usize,
    /// A ring of the last bytes; `next` is where the following byte goes.
    tail: Vec<u8>,
    tail_cap: usize,
    next: usize,
    total: u64,
}

impl Capture {
    /// Keeps the first `cap` bytes.
    pub fn head(cap: u64) -> Self {
        Self::new(usize::try_from(cap).unwrap_or(usize::MAX), 0)
    }

    /// Keeps the first and the last half of `cap` bytes.
    pub fn head_and_tail(cap: u64) -> Self {
        let half = usize::try_from(cap / 2).unwrap_or(usize::MAX);
        Self::new(half, half)
    }

    fn new(head_cap: usize, tail_cap: usize) -> Self {
        Self {
            head: Vec::new(),
            head_cap,
            tail: Vec::new(),
            tail_cap,
            next: 0,
            total: 0,
        }
    }

    /// Bytes written so far.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Takes the stream's next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = self.head_cap - self.head.len();
        let (head, mut rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(head);
        // Only the last `tail_cap` bytes can stay.
        rest = &rest[rest.len().saturating_sub(self.tail_cap)..];
        while !rest.is_empty() {
            if self.tail.len() < self.tail_cap {
                let (now, later) = rest.split_at((self.tail_cap - self.tail.len()).min(rest.len()));
                self.tail.extend_from_slice(now);
                rest = later;
            } else {
                let (now, later) = rest.split_at((self.tail_cap - self.next).min(rest.len()));
                self.tail[self.next..self.next + now.len()].copy_from_slice(now);
                self.next = (self.next + now.len()) % self.tail_cap;
                rest = later;
            }
        }
    }

    /// What is kept.
    pub fn finish(mut self) -> Captured {
        self.tail.rotate_left(self.next);
        self.head.append(&mut self.tail);
        Captured {
            truncated: (self.head.len() as u64) < self.total,
            bytes: self.head,
            bytes_total: self.total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_tail_survive_any_chunking() {
        let text: Vec<u8> = (0..100).collect();
        for chunk in 1..=100 {
            for (cap, expected) in [
                (200, text.clone()),
                (100, text.clone()),
                (20, [&text[..10], &text[90..]].concat()),
            ] {
                let mut capture = Capture::head_and_tail(cap);
                text.chunks(chunk).for_each(|c| capture.push(c));
                let got = capture.finish();
                assert_eq!(got.bytes, expected, "cap {cap}, chunks of {chunk}");
                assert_eq!((got.bytes_total, got.truncated), (100, cap < 100));
            }
        }
    }

    #[test]
    fn a_head_alone_drops_the_rest() {
        let mut capture = Capture::head(4);
        capture.push(b"abcdef");
        let got = capture.finish();
        assert_eq!(
            (&got.bytes[..], got.bytes_total, got.truncated),
            (&b"abcd"[..], 6, true)
        );
    }
}
