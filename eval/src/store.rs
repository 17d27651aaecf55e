//! The problems of one dataset at hand by number, without holding them in memory.
//!
//! Completions arrive in any order while test data may be gigabytes. So the one pass that checks a
//! dataset also writes its problems, as native rows, into an unlinked file in the results folder,
//! and each is read back when its completion is judged.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use judge::Problem;
use sha2::{Digest as _, Sha256};

use crate::dataset::{Dataset, hex};
use crate::error::EvalError;

/// A dataset's problems, by their place in it.
#[derive(Debug)]
pub(crate) struct ProblemStore {
    folder: PathBuf,
    file: File,
    spans: Vec<(u64, usize)>,
    /// The ids in order.
    pub(crate) ids: Vec<String>,
    /// sha256 over the problems as native rows, in hex.
    pub(crate) sha256: String,
}

impl ProblemStore {
    /// Reads the dataset to its end; `visit` sees each problem once.
    ///
    /// # Errors
    ///
    /// The first bad row, the first error of `visit`, or a full disk.
    pub(crate) fn build(
        dataset: &Dataset,
        folder: &Path,
        mut visit: impl FnMut(&Problem) -> Result<(), EvalError>,
    ) -> Result<Self, EvalError> {
        let file = tempfile::tempfile_in(folder).map_err(EvalError::write(folder))?;
        let mut out = BufWriter::with_capacity(1 << 18, file);
        let (mut spans, mut ids) = (Vec::new(), Vec::new());
        let mut offset = 0;
        let mut hash = Sha256::new();
        for problem in dataset.problems() {
            let problem = problem?;
            visit(&problem)?;
            let row = problem.to_row();
            hash.update(&row);
            hash.update("\n");
            out.write_all(row.as_bytes())
                .map_err(EvalError::write(folder))?;
            spans.push((offset, row.len()));
            offset += row.len() as u64;
            ids.push(problem.problem_id);
        }
        let file = out
            .into_inner()
            .map_err(|error| EvalError::write(folder)(error.into_error()))?;
        Ok(Self {
            folder: folder.to_owned(),
            file,
            spans,
            ids,
            sha256: hex(&hash.finalize()),
        })
    }

    /// How many problems there are.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Reads one back.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub(crate) fn problem(&self, index: usize) -> Result<Arc<Problem>, EvalError> {
        let (offset, length) = self.spans[index];
        let mut row = vec![0; length];
        self.file
            .read_exact_at(&mut row, offset)
            .map_err(EvalError::read(&self.folder))?;
        let row = String::from_utf8(row).expect("written from a string");
        Ok(Arc::new(
            Problem::from_row(&row).expect("written from a problem"),
        ))
    }
}
