//! Verdicts already known, by content: repeated rollouts cost nothing.
//!
//! The key is a hash over everything a verdict depends on; a verdict that depends on the machine's
//! speed (timeouts, `near_limit`) or on our own luck (api_errors) is never kept.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use executor::{Network, Runner};
use sha2::{Digest as _, Sha256};

use crate::harness::{Form, HARNESS, Source, public_names};
use crate::settings::{CacheConfig, JudgeConfig, Rules};
use crate::{ErrorType, JudgeError, Problem, Suite, Value, Verdict};

/// Rows kept in memory, in bytes.
const MEMORY_BYTES: usize = 64 << 20;
/// Problems whose digest is kept.
const DIGESTS: usize = 64;

/// A key: SHA-256, in hex.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(String);

/// A bounded store of verdict rows, and a folder behind it.
pub(crate) struct Cache {
    folder: Option<PathBuf>,
    rows: Arc<Mutex<Rows>>,
    digests: Mutex<VecDeque<(Weak<Problem>, [u8; 32])>>,
    context: [u8; 32],
}

#[derive(Default)]
struct Rows {
    by_key: HashMap<Key, Arc<str>>,
    oldest_first: VecDeque<Key>,
    bytes: usize,
}

impl Cache {
    /// The cache that `config` asks for; `None` if none.
    pub(crate) fn open(
        config: &JudgeConfig,
        runner: &dyn Runner,
    ) -> Result<Option<Self>, JudgeError> {
        let folder = match &config.cache {
            CacheConfig::Off => return Ok(None),
            CacheConfig::Memory => None,
            CacheConfig::Folder(folder) => {
                std::fs::create_dir_all(folder).map_err(|source| JudgeError::Cache {
                    path: folder.clone(),
                    source,
                })?;
                Some(folder.clone())
            }
        };
        Ok(Some(Self {
            folder,
            rows: Arc::default(),
            digests: Mutex::default(),
            context: context(config, runner),
        }))
    }

    /// The same store for another configuration; `None` if that wants none.
    pub(crate) fn sharing(&self, config: &JudgeConfig, runner: &dyn Runner) -> Option<Self> {
        (config.cache != CacheConfig::Off).then(|| Self {
            folder: self.folder.clone(),
            rows: self.rows.clone(),
            digests: Mutex::default(),
            context: context(config, runner),
        })
    }

    /// The key of one submission.
    pub(crate) fn key(&self, problem: &Arc<Problem>, rules: &Rules, source: &Source) -> Key {
        let mut hash = Fields::default();
        hash.field(&self.context);
        hash.field(&self.digest(problem));
        hash.field(rules.compare.to_string().as_bytes());
        // Debug output names every limit, also those added later.
        hash.field(format!("{:?} {:?}", rules.limits, rules.integrity).as_bytes());
        hash.field(match source.form {
            Form::Program => b"program",
            Form::Continuation => b"continuation",
            Form::Either => b"either",
        });
        hash.field(&source.bytes);
        Key(hash
            .finish()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect())
    }

    /// Tests can be many megabytes, and the samples of a problem come one after the other.
    fn digest(&self, problem: &Arc<Problem>) -> [u8; 32] {
        let same = |known: &Weak<Problem>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(problem));
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, digest)) = digests.iter().find(|(known, _)| same(known)) {
            return *digest;
        }
        let digest = problem_digest(problem);
        if digests.len() == DIGESTS {
            digests.pop_front();
        }
        digests.push_back((Arc::downgrade(problem), digest));
        digest
    }

    /// The verdict kept under `key`. A damaged file is no verdict.
    pub(crate) fn get(&self, key: &Key) -> Option<Verdict> {
        let known = {
            let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            rows.by_key.get(key).cloned()
        };
        if let Some(row) = known {
            return Verdict::from_row(&row).ok();
        }
        let text = std::fs::read_to_string(self.folder.as_ref()?.join(key.file())).ok()?;
        let (checksum, row) = text.split_once('\n')?;
        if checksum != sha256_hex(row.as_bytes()) {
            return None;
        }
        let verdict = Verdict::from_row(row).ok()?;
        self.remember(key, row.into());
        Some(verdict)
    }

    /// Keeps a verdict if it depends on nothing but the key.
    pub(crate) fn put(&self, key: &Key, verdict: &Verdict) -> io::Result<()> {
        let by_chance = [ErrorType::Timeout, ErrorType::ApiError];
        if verdict.near_limit
            || by_chance
                .iter()
                .any(|kind| verdict.error_types.contains_key(kind.as_str()))
        {
            return Ok(());
        }
        let row = verdict.to_row();
        let written = match &self.folder {
            Some(folder) => write(&folder.join(key.file()), &row),
            None => Ok(()),
        };
        self.remember(key, row.into());
        written
    }

    fn remember(&self, key: &Key, row: Arc<str>) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = row.len();
        if bytes > MEMORY_BYTES || rows.by_key.insert(key.clone(), row).is_some() {
            return;
        }
        rows.bytes += bytes;
        rows.oldest_first.push_back(key.clone());
        while rows.bytes > MEMORY_BYTES {
            let Some(oldest) = rows.oldest_first.pop_front() else {
                break;
            };
            rows.bytes -= rows.by_key.remove(&oldest).map_or(0, |row| row.len());
        }
    }
}

/// Everything that verdicts depend on besides problem, rules and source.
fn context(config: &JudgeConfig, runner: &dyn Runner) -> [u8; 32] {
    let mut hash = Fields::default();
    hash.field(env!("CARGO_PKG_VERSION").as_bytes());
    hash.field(HARNESS.as_bytes());
    hash.field(runner.backend().as_bytes());
    hash.field(runner.isolation().as_str().as_bytes());
    hash.field(runner.interpreter().fingerprint.as_bytes());
    hash.field(format!("{:?}", config.aggregate).as_bytes());
    hash.field(format!("{:?}", config.stop_after_failures).as_bytes());
    hash.field(format!("{:?}", config.max_timeouts).as_bytes());
    hash.field(match config.network {
        Network::None => b"none",
        Network::Loopback => b"loopback",
    });
    hash.finish()
}

impl Key {
    /// Two levels, so that no folder grows without bound.
    fn file(&self) -> String {
        format!("{}/{}.json", &self.0[..2], &self.0[2..])
    }
}

/// Readers see the whole file or none.
fn write(path: &Path, row: &str) -> io::Result<()> {
    let folder = path.parent().expect("keys have two levels");
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    write!(file, "{}\n{row}", sha256_hex(row.as_bytes()))?;
    file.persist(path)?;
    Ok(())
}

fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Everything of a problem that its verdicts depend on.
fn problem_digest(problem: &Problem) -> [u8; 32] {
    let mut hash = Fields::default();
    hash.field(problem.suite.kind().as_bytes());
    match &problem.suite {
        Suite::Stdio {
            tests,
            checker,
            input_file,
            output_file,
        } => {
            for test in tests {
                hash.field(&test.stdin);
                hash.field(&test.expected);
            }
            for file in [input_file, output_file] {
                hash.field(file.as_deref().unwrap_or_default().as_bytes());
            }
            hash.field(
                checker
                    .as_ref()
                    .map_or(&[][..], |checker| checker.source.as_bytes()),
            );
        }
        Suite::Check {
            entry_point,
            test,
            calls_check,
        } => {
            hash.field(entry_point.as_bytes());
            hash.field(test.as_bytes());
            hash.field(&[u8::from(*calls_check)]);
        }
        Suite::Asserts {
            setup,
            imports,
            tests,
            entry_point,
        } => {
            hash.field(setup.as_bytes());
            hash.field(entry_point.as_deref().unwrap_or_default().as_bytes());
            for texts in [imports, tests] {
                hash.field(&(texts.len() as u64).to_le_bytes());
                texts.iter().for_each(|text| hash.field(text.as_bytes()));
            }
        }
        Suite::Call {
            entry_point,
            setup,
            tests,
        } => {
            hash.field(entry_point.as_bytes());
            hash.field(setup.as_bytes());
            for test in tests {
                hash.field(Value::List(test.args.clone()).to_json().as_bytes());
                hash.field(test.expected.to_json().as_bytes());
            }
        }
    }
    hash.field(problem.prompt.as_bytes());
    public_names(problem)
        .iter()
        .for_each(|name| hash.field(name.as_bytes()));
    hash.finish()
}

/// A hash over fields: lengths keep neighbours apart.
#[derive(Default)]
struct Fields(Sha256);

impl Fields {
    fn field(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
