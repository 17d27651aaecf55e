//! The guest's memory as the host sees it. Every address and length comes from the guest and is
//! checked here, nowhere else.

use super::abi::Errno;

/// More buffers than this in one call are refused, as by Linux (`IOV_MAX`).
const MAX_BUFFERS: u32 = 1024;

/// The guest's memory during one call.
pub(crate) struct Memory<'a>(pub(crate) &'a mut [u8]);

/// A buffer in the guest's memory that was found to lie within it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer {
    start: usize,
    len: usize,
}

impl Buffer {
    pub(crate) fn len(self) -> usize {
        self.len
    }
}

impl Memory<'_> {
    /// Checks that `len` bytes from `at` on are the guest's.
    pub(crate) fn buffer(&self, at: u32, len: u32) -> Result<Buffer, Errno> {
        let (start, len) = (at as usize, len as usize);
        match start.checked_add(len) {
            Some(end) if end <= self.0.len() => Ok(Buffer { start, len }),
            _ => Err(Errno::FAULT),
        }
    }

    pub(crate) fn get(&self, buffer: Buffer) -> &[u8] {
        &self.0[buffer.start..][..buffer.len]
    }

    pub(crate) fn get_mut(&mut self, buffer: Buffer) -> &mut [u8] {
        &mut self.0[buffer.start..][..buffer.len]
    }

    pub(crate) fn bytes(&self, at: u32, len: u32) -> Result<&[u8], Errno> {
        Ok(self.get(self.buffer(at, len)?))
    }

    pub(crate) fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Errno> {
        let len = u32::try_from(bytes.len()).map_err(|_| Errno::OVERFLOW)?;
        let buffer = self.buffer(at, len)?;
        self.get_mut(buffer).copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn write_u32(&mut self, at: u32, value: u32) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    pub(crate) fn write_u64(&mut self, at: u32, value: u64) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    pub(crate) fn array<const N: usize>(&self, at: u32) -> Result<[u8; N], Errno> {
        let bytes = self.bytes(at, N as u32)?;
        Ok(bytes.try_into().expect("the length was asked for"))
    }

    /// The buffers that an array of `iovec` names. All are checked before one is used, so that a
    /// call with a bad one moves nothing. Their sum fits into an `u32`.
    pub(crate) fn buffers(&self, at: u32, count: u32) -> Result<Vec<Buffer>, Errno> {
        if count > MAX_BUFFERS {
            return Err(Errno::INVAL);
        }
        let entries = self.bytes(at, count * 8)?;
        let mut sum = 0u32;
        entries
            .chunks_exact(8)
            .map(|entry| {
                let word =
                    |i: usize| u32::from_le_bytes(entry[i..i + 4].try_into().expect("four bytes"));
                sum = sum.checked_add(word(4)).ok_or(Errno::INVAL)?;
                self.buffer(word(0), word(4))
            })
            .collect()
    }
}
