//! safetensors files without loading them: the header, and whether the file is as long as it says.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use safetensors::tensor::Metadata;

use crate::error::EvalError;

/// More than any real header; a larger number means that the file is something else.
const MAX_HEADER_BYTES: u64 = 100 << 20;

/// The header of one file.
#[derive(Debug)]
pub(crate) struct Header {
    /// Names, shapes, types and offsets.
    pub(crate) tensors: Metadata,
    /// Where the tensors' bytes begin.
    pub(crate) data_offset: u64,
}

impl Header {
    /// Reads and checks a header.
    ///
    /// # Errors
    ///
    /// The file cannot be read, has no valid header, or is shorter or longer than its header says:
    /// it is still being written, or was cut.
    pub(crate) fn read(path: &Path) -> Result<Self, EvalError> {
        let mut file = File::open(path).map_err(EvalError::read(path))?;
        let size = file.metadata().map_err(EvalError::read(path))?.len();
        let bad = |reason: String| EvalError::invalid(format!("{}: {reason}", path.display()));
        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(|_| bad(format!("{size} bytes are no safetensors file")))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES {
            return Err(bad("no safetensors header at its start".into()));
        }
        if length + 8 > size {
            return Err(bad("cut off in its header".into()));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header)
            .map_err(EvalError::read(path))?;
        let tensors: Metadata = serde_json::from_slice(&header)
            .map_err(|error| bad(format!("the header is broken: {error}")))?;
        let data_offset = length + 8;
        let expected = data_offset + tensors.data_len() as u64;
        if size != expected {
            return Err(bad(format!(
                "{size} bytes long, but its header describes {expected}"
            )));
        }
        Ok(Self {
            tensors,
            data_offset,
        })
    }
}
