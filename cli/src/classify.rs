//! `codejury classify`: what recorded standard error says about a program's end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context as _;
use executor::MIB;
use judge::{TracebackContext, TracebackKind, classify_traceback};
use serde_json::json;

use crate::args::{ClassifyArgs, KindChoice};
use crate::exit::{ExitCode, Failure};
use crate::output;
use crate::units::show_size;

/// A file is held in memory.
const LARGEST_FILE: u64 = 1024 * MIB;

pub(crate) fn run(args: &ClassifyArgs) -> anyhow::Result<ExitCode> {
    let context = TracebackContext {
        kind: match args.kind {
            KindChoice::Program => TracebackKind::Program,
            KindChoice::Check => TracebackKind::Check,
            KindChoice::Asserts => TracebackKind::Asserts,
        },
        compiled_by_harness: args.compiled_by_harness,
    };
    for path in &args.files {
        let found = classify_traceback(&read(path)?, context);
        let line = json!({
            "file": path.to_string_lossy(),
            "error_type": found.as_ref().map(|found| found.error_type),
            "class": found.as_ref().map(|found| &found.class),
            "line": found.as_ref().and_then(|found| found.line),
        });
        output::print(format!("{line}\n"))?;
    }
    Ok(ExitCode::Done)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut read = |input: &mut dyn Read| input.take(LARGEST_FILE + 1).read_to_end(&mut bytes);
    let result = match path == Path::new("-") {
        true => read(&mut io::stdin().lock()),
        false => File::open(path).and_then(|mut file| read(&mut file)),
    };
    result.with_context(|| Failure::bad_input(format!("cannot read {}", path.display())))?;
    if bytes.len() as u64 > LARGEST_FILE {
        let most = show_size(LARGEST_FILE);
        return Err(Failure::bad_input(format!("{} is larger than {most}", path.display())).into());
    }
    Ok(bytes)
}
