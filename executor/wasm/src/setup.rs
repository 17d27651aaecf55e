//! From a build or a release file to an installed interpreter.
//!
//! # Theory of operation
//!
//!   build script ── reactor.wasm, stdlib.zip, … ──> snapshot ──┐
//!                                                              ├─> Parts ──> install (cache.rs)
//!   release file (tar, zstd) ── python.wasm, … ── checked ─────┘
//!
//! Nothing is fetched that was not asked for: the build script runs on request only, and says where
//! its inputs come from. Everything is checked before the first byte is installed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cache::{self, SetupError};
use crate::snapshot;

/// A file of `guest/` with the path that the script expects it at.
macro_rules! guest_file {
    ($name:literal) => {
        (
            concat!("executor/wasm/guest/", $name),
            include_bytes!(concat!("../guest/", $name)),
        )
    };
}

/// What the build script consists of: where each file goes below a folder, and its text.
const BUILD: &[(&str, &[u8])] = &[
    (SCRIPT, include_bytes!("../../../scripts/build-python-wasi")),
    guest_file!("config.site"),
    guest_file!("lib/_socket.py"),
    guest_file!("lib/_sysconfigdata__wasi_wasm32-wasi.py"),
    guest_file!("lib/resource.py"),
    guest_file!("make-stdlib.py"),
    guest_file!("patches/clocks.patch"),
    guest_file!("patches/prepared-modules.patch"),
    guest_file!("patches/recursion-limits.patch"),
    guest_file!("patches/sizes.patch"),
    guest_file!("patches/standard-library.patch"),
    guest_file!("patches/threads.patch"),
    guest_file!("prepare.py"),
    guest_file!("reactor.c"),
    guest_file!("versions/3.11.2.inputs"),
];
const SCRIPT: &str = "scripts/build-python-wasi";

/// No part of an interpreter is larger.
const MAX_PART_BYTES: u64 = 256 << 20;
/// The form of [`Manifest`].
pub(crate) const SCHEMA: &str = "codejury.wasm/1";

/// The file names of the parts, in a release file as in a build.
const MODULE: &str = "python.wasm";
const STDLIB: &str = "stdlib.zip";
const LICENCES: &str = "LICENCES.txt";
const MANIFEST: &str = "manifest.json";

/// What an installed interpreter or a release file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `codejury.wasm/1`.
    pub schema: String,
    /// `3.11.2`.
    pub python_version: String,
    /// The snapshot's hash: what verdicts name.
    pub module_sha256: String,
    /// The hash of the standard library's archive.
    pub stdlib_sha256: String,
    /// The hash of the licences' text.
    pub licences_sha256: String,
    /// How it was built: the native Python, the build's own sources, its inputs.
    pub build: BuildRecord,
}

/// What decided the bytes of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildRecord {
    /// The CPython that was built.
    pub python_version: String,
    /// The native CPython it was built with.
    pub build_python_version: String,
    /// Hash over the script and all sources of ours.
    pub build_sha256: String,
    /// File and hash of everything else.
    pub inputs: BTreeMap<String, String>,
}

/// An interpreter in memory, complete and checked.
#[derive(Debug)]
pub struct Parts {
    pub(crate) manifest: Manifest,
    pub(crate) module: Vec<u8>,
    pub(crate) stdlib: Vec<u8>,
    pub(crate) licences: Vec<u8>,
}

impl Parts {
    /// What it is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Runs the build script, then takes the snapshot. Minutes of two cores; the script's own words
    /// go to standard error. `work` keeps what was built, to go on from there.
    ///
    /// # Errors
    ///
    /// The script fails (it has said why), or what it made does not start.
    pub fn build(sources: Option<&Path>, work: Option<&Path>) -> Result<Self, SetupError> {
        let folder = tempfile::tempdir().map_err(|source| SetupError::write(".", source))?;
        for (name, text) in BUILD {
            let path = folder.path().join(name);
            let written = fs::create_dir_all(path.parent().expect("names have folders"))
                .and_then(|()| fs::write(&path, text));
            written.map_err(|source| SetupError::write(&path, source))?;
        }
        let script = folder.path().join(SCRIPT);
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700))
            .map_err(|source| SetupError::write(&script, source))?;
        let made = folder.path().join("made");
        let mut command = Command::new("bash");
        command.arg(&script);
        for (flag, path) in [("--sources", sources), ("--work", work)] {
            if let Some(path) = path {
                command.arg(flag).arg(path);
            }
        }
        let status = command
            .arg(&made)
            .stdin(std::process::Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => Self::from_build(&made),
            Ok(status) => Err(SetupError::Build(format!(
                "the build script ended with {status}"
            ))),
            Err(error) => Err(SetupError::Build(format!(
                "bash cannot be started: {error}"
            ))),
        }
    }

    /// Takes the snapshot of what the build script left in `folder`.
    ///
    /// # Errors
    ///
    /// A file is missing or is not what it should be, or the interpreter does not start.
    pub fn from_build(folder: &Path) -> Result<Self, SetupError> {
        let read = |name: &str| {
            let path = folder.join(name);
            let read = fs::read(&path);
            read.map_err(|source| SetupError::Read { path, source })
        };
        let record = folder.join("build.json");
        let build: BuildRecord = serde_json::from_slice(&read("build.json")?)
            .map_err(|error| SetupError::unfit(&record, error))?;
        let stdlib = read(STDLIB)?;
        let reactor = folder.join("reactor.wasm");
        let module = snapshot::take(&read("reactor.wasm")?, Arc::from(stdlib.as_slice()))
            .map_err(|error| SetupError::unfit(&reactor, error))?;
        let licences = read(LICENCES)?;
        Ok(Self {
            manifest: Manifest {
                schema: SCHEMA.to_owned(),
                python_version: build.python_version.clone(),
                module_sha256: sha256(&module),
                stdlib_sha256: sha256(&stdlib),
                licences_sha256: sha256(&licences),
                build,
            },
            module,
            stdlib,
            licences,
        })
    }

    /// Reads a release file, and holds each part against the manifest in it.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no release file, or a part of it is not what its manifest says.
    pub fn read(path: &Path) -> Result<Self, SetupError> {
        let unfit = |reason: String| SetupError::unfit(path, reason);
        let file = File::open(path).map_err(|source| SetupError::Read {
            path: path.to_owned(),
            source,
        })?;
        let broken =
            |error: io::Error| unfit(format!("it is no release file, or a broken one: {error}"));
        let unpacked = zstd::Decoder::new(file).map_err(broken)?;
        let mut archive = tar::Archive::new(unpacked);
        let mut found = BTreeMap::new();
        for entry in archive.entries().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if !entry.header().entry_type().is_file()
                || ![MODULE, STDLIB, LICENCES, MANIFEST].contains(&name.as_str())
            {
                return Err(unfit(format!(
                    "it holds `{}`, which is no part",
                    name.escape_default()
                )));
            }
            let mut bytes = Vec::new();
            entry
                .take(MAX_PART_BYTES + 1)
                .read_to_end(&mut bytes)
                .map_err(broken)?;
            if bytes.len() as u64 > MAX_PART_BYTES {
                return Err(unfit(format!(
                    "{name} in it is larger than any part can be"
                )));
            }
            if found.insert(name.clone(), bytes).is_some() {
                return Err(unfit(format!("it holds {name} twice")));
            }
        }
        let mut part = |name: &str| {
            found
                .remove(name)
                .ok_or_else(|| unfit(format!("{name} is missing in it")))
        };
        let manifest: Manifest = serde_json::from_slice(&part(MANIFEST)?)
            .map_err(|error| unfit(format!("its {MANIFEST}: {error}")))?;
        if manifest.schema != SCHEMA {
            return Err(unfit(format!(
                "it is of the form `{}`, and this version reads {SCHEMA}",
                manifest.schema.escape_default()
            )));
        }
        let parts = Self {
            module: part(MODULE)?,
            stdlib: part(STDLIB)?,
            licences: part(LICENCES)?,
            manifest,
        };
        for (name, bytes, said) in parts.named() {
            let is = sha256(bytes);
            if is != *said {
                return Err(unfit(format!(
                    "{name} in it has the hash {is}, and its manifest says {said}"
                )));
            }
        }
        Ok(parts)
    }

    /// Writes a release file: the same parts give the same bytes.
    ///
    /// # Errors
    ///
    /// It cannot be written. Then there is no file, or what was there before.
    pub fn write(&self, path: &Path) -> Result<(), SetupError> {
        let failed = |source| SetupError::write(path, source);
        cache::write_atomically(path, 0o644, |file| {
            let mut packed = zstd::Encoder::new(file, 19)?;
            packed.include_checksum(true)?;
            let mut archive = tar::Builder::new(packed);
            let manifest = manifest_text(&self.manifest);
            let parts = [(MANIFEST, manifest.as_bytes())];
            let named = self.named().map(|(name, bytes, _)| (name, bytes));
            for (name, bytes) in parts.into_iter().chain(named) {
                let mut header = tar::Header::new_ustar();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                header.set_mtime(0);
                archive.append_data(&mut header, name, bytes)?;
            }
            archive.into_inner()?.finish()?.flush()
        })
        .map_err(failed)
    }

    pub(crate) fn named(&self) -> [(&'static str, &[u8], &String); 3] {
        [
            (MODULE, &self.module, &self.manifest.module_sha256),
            (STDLIB, &self.stdlib, &self.manifest.stdlib_sha256),
            (LICENCES, &self.licences, &self.manifest.licences_sha256),
        ]
    }
}

pub(crate) fn manifest_text(manifest: &Manifest) -> String {
    serde_json::to_string_pretty(manifest).expect("strings become JSON") + "\n"
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Where an interpreter is installed unless `CODEJURY_WASM_DIR` says otherwise.
///
/// # Errors
///
/// Neither variable that could say so is set to an absolute path.
pub fn folder() -> Result<PathBuf, SetupError> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if let Some(named) = std::env::var_os("CODEJURY_WASM_DIR").filter(|path| !path.is_empty()) {
        return std::path::absolute(&named).map_err(|source| SetupError::Read {
            path: named.into(),
            source,
        });
    }
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("codejury/wasm"))
        .ok_or(SetupError::NoFolder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_has_every_file_of_the_guest() {
        fn files(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).expect("the folder is there") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => files(&path, found),
                    false => found.push(path),
                }
            }
        }
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let mut there = Vec::new();
        files(&root.join("executor/wasm/guest"), &mut there);
        there.push(root.join(SCRIPT));
        let mut there: Vec<_> = there
            .iter()
            .map(|path| {
                path.strip_prefix(root)
                    .expect("below it")
                    .display()
                    .to_string()
            })
            .collect();
        there.sort();
        let mut embedded: Vec<_> = BUILD.iter().map(|(name, _)| (*name).to_owned()).collect();
        embedded.sort();
        assert_eq!(embedded, there);
    }
}
