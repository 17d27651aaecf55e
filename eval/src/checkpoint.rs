//! Checkpoints as trainers leave them: finding the weights of a step, telling whether they are
//! complete, keeping them while the trainer deletes old ones, and telling them apart.
//!
//! verl writes `global_step_N/huggingface` (SFT) or `global_step_N/actor/huggingface` (RL), shard
//! by shard, and says in `latest_checkpointed_iteration.txt` which step is complete. The folder
//! `huggingface` is always there; it holds weights only if the trainer was told to save them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::dataset::hex;
use crate::error::EvalError;
use crate::safetensors::Header;

/// The steps that have a folder in a run, ascending.
///
/// # Errors
///
/// The run's folder cannot be read.
pub fn steps(run: &Path) -> Result<Vec<u64>, EvalError> {
    let mut steps = Vec::new();
    for entry in fs::read_dir(run).map_err(EvalError::read(run))? {
        let entry = entry.map_err(EvalError::read(run))?;
        if let Some(step) = step_of(&entry.file_name().to_string_lossy()) {
            steps.push(step);
        }
    }
    steps.sort_unstable();
    Ok(steps)
}

fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("global_step_")?.parse().ok()
}

/// The folder of a step.
pub fn step_folder(run: &Path, step: u64) -> PathBuf {
    run.join(format!("global_step_{step}"))
}

/// The folder of a step that holds a model: the first of `subfolders` with a `config.json`.
///
/// # Errors
///
/// There is no such step, or none of its folders holds a model, with what is there.
pub fn find(run: &Path, step: u64, subfolders: &[String]) -> Result<PathBuf, EvalError> {
    let folder = step_folder(run, step);
    if !folder.is_dir() {
        let known = steps(run)?;
        let known: Vec<String> = known.iter().map(u64::to_string).collect();
        let error = EvalError::invalid(format!(
            "{} has no checkpoint of step {step}",
            run.display()
        ));
        return Err(match known.is_empty() {
            true => error.hint("--checkpoint-dir is the folder that holds global_step_N"),
            false => error.hint(format!("steps that are there: {}", known.join(", "))),
        });
    }
    let candidates = subfolders.iter().map(|sub| match sub.as_str() {
        "" => folder.clone(),
        sub => folder.join(sub),
    });
    candidates
        .into_iter()
        .find(|path| path.join("config.json").is_file())
        .ok_or_else(|| {
            EvalError::invalid(format!(
                "{} holds no model: no config.json in {}",
                folder.display(),
                subfolders.join(", ")
            ))
        })
}

/// The weight files of a Hugging Face folder, in order: one `model.safetensors`, or the shards that
/// the index names.
///
/// # Errors
///
/// There are none, some are missing, or the index cannot be read. `global_step_N` with FSDP shards
/// only is said to be that.
pub fn weight_files(model: &Path) -> Result<Vec<PathBuf>, EvalError> {
    let index = model.join("model.safetensors.index.json");
    if index.is_file() {
        let text = fs::read(&index).map_err(EvalError::read(&index))?;
        let bad = |reason: String| EvalError::invalid(format!("{}: {reason}", index.display()));
        let parsed: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        let map = parsed["weight_map"]
            .as_object()
            .ok_or_else(|| bad("no `weight_map`".into()))?;
        let mut names: Vec<&str> = Vec::new();
        for name in map.values() {
            let name = name
                .as_str()
                .filter(|name| !name.contains('/'))
                .ok_or_else(|| bad(format!("{name} is no file name")))?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.sort_unstable();
        let missing: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| !model.join(name).is_file())
            .collect();
        if !missing.is_empty() {
            return Err(EvalError::invalid(format!(
                "{}: {} of {} weight files are missing: {}",
                model.display(),
                missing.len(),
                names.len(),
                missing.join(", ")
            )));
        }
        return Ok(names.into_iter().map(|name| model.join(name)).collect());
    }
    let single = model.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let error = EvalError::invalid(format!(
        "{} holds no weights: neither model.safetensors nor model.safetensors.index.json",
        model.display()
    ));
    let parents = [Some(model), model.parent()].into_iter().flatten();
    let sharded = parents.into_iter().any(has_fsdp_shards);
    Err(match sharded {
        true => error.hint(
            "there are FSDP shards beside it: `codejury handoff merge` makes weights of them, or let the \
             trainer save `hf_model` too",
        ),
        false if model.join("pytorch_model.bin").is_file() => {
            error.hint("pytorch_model.bin is a pickle, which is not read; save as safetensors")
        }
        false => error,
    })
}

/// Whether a folder holds the shards that verl's FSDP trainer writes.
pub fn has_fsdp_shards(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("model_world_size_") && name.ends_with(".pt")
    })
}

/// What a checkpoint looks like at one moment; two equal looks some time apart mean that nobody
/// writes any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look(BTreeMap<PathBuf, (u64, Option<SystemTime>)>);

impl Look {
    /// Sizes and times of the folder's files.
    ///
    /// # Errors
    ///
    /// The folder cannot be read, for example because it was deleted.
    pub fn at(folder: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let meta = fs::metadata(entry.path())?;
            if meta.is_file() {
                files.insert(entry.path(), (meta.len(), meta.modified().ok()));
            }
        }
        Ok(Self(files))
    }
}

/// Whether the trainer says that this step is complete; `None` if it says nothing about any.
pub fn announced(run: &Path, step: u64) -> Option<bool> {
    let text = fs::read_to_string(run.join("latest_checkpointed_iteration.txt")).ok()?;
    let latest: u64 = text.trim().parse().ok()?;
    Some(latest >= step)
}

/// Why a checkpoint cannot be used yet; `None` when its files are whole.
pub fn incomplete(model: &Path) -> Option<String> {
    let files = match weight_files(model) {
        Ok(files) => files,
        Err(error) => return Some(error.to_string()),
    };
    for file in files {
        if let Err(error) = Header::read(&file) {
            return Some(error.to_string());
        }
    }
    None
}

/// A checkpoint that stays while it is evaluated, whatever the trainer deletes: hard links where
/// they can be made, else the folder itself.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    links: bool,
}

impl Held {
    /// Links every file of `model` into `into`. Falls back to the folder itself on another file
    /// system.
    ///
    /// # Errors
    ///
    /// The checkpoint cannot be read: it may have been deleted meanwhile.
    pub fn new(model: &Path, into: &Path) -> Result<Self, EvalError> {
        let linked = || -> io::Result<()> {
            match fs::remove_dir_all(into) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::create_dir_all(into)?;
            link_files(model, into)
        };
        match linked() {
            Ok(()) => Ok(Self {
                path: into.to_owned(),
                links: true,
            }),
            Err(error) => {
                let _ = fs::remove_dir_all(into);
                if !model.join("config.json").is_file() {
                    return Err(EvalError::read(model)(error));
                }
                Ok(Self {
                    path: model.to_owned(),
                    links: false,
                })
            }
        }
    }

    /// Where the model is to be read from.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.links {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn link_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            link_files(&entry.path(), &target)?;
        } else {
            // The file behind a symbolic link, as Hugging Face's cache has them.
            fs::hard_link(fs::canonicalize(entry.path())?, &target)?;
        }
    }
    Ok(())
}

/// How much of a file is hashed whole.
const WHOLE_BYTES: u64 = 16 << 20;
/// From larger files: so many blocks of so many bytes, evenly spread, first and last included.
const BLOCKS: u64 = 32;
const BLOCK_BYTES: u64 = 1 << 20;

/// What tells a checkpoint from others, quickly: a sha256 over the names and sizes of its files,
/// the whole of small files and 32 blocks of 1 MiB of large ones. Training changes every weight,
/// so blocks are enough; the hand-off hashes every byte.
///
/// # Errors
///
/// A file cannot be read.
pub fn fingerprint(model: &Path) -> Result<String, EvalError> {
    let look = Look::at(model).map_err(EvalError::read(model))?;
    let mut hash = Sha256::new();
    for (path, (size, _)) in &look.0 {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        hash.update(format!("{name}\0{size}\0"));
        let mut file = File::open(path).map_err(EvalError::read(path))?;
        if *size <= WHOLE_BYTES {
            let mut text = Vec::new();
            file.read_to_end(&mut text).map_err(EvalError::read(path))?;
            hash.update(&text);
            continue;
        }
        let mut block = vec![0; BLOCK_BYTES as usize];
        for i in 0..BLOCKS {
            let offset = (size - BLOCK_BYTES) / (BLOCKS - 1) * i;
            file.read_exact_at(&mut block, offset)
                .map_err(EvalError::read(path))?;
            hash.update(&block);
        }
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_from_folder_names() {
        let run = tempfile::tempdir().expect("a folder");
        for name in [
            "global_step_1000",
            "global_step_500",
            "global_step_x",
            "other",
        ] {
            fs::create_dir(run.path().join(name)).expect("made");
        }
        assert_eq!(steps(run.path()).expect("read"), [500, 1000]);
        let error = find(run.path(), 700, &["".into()]).expect_err("none");
        assert!(
            error.to_string().contains("no checkpoint of step 700"),
            "{error}"
        );
    }

    #[test]
    fn what_is_held_survives_its_deletion() {
        let run = tempfile::tempdir().expect("a folder");
        let model = run.path().join("phase_1_ SFT – größer/huggingface");
        fs::create_dir_all(&model).expect("made");
        fs::write(model.join("config.json"), "{}").expect("written");
        let held = Held::new(&model, &run.path().join("out/hold")).expect("held");
        let before = fingerprint(held.path()).expect("hashed");
        fs::remove_dir_all(&model).expect("deleted");
        assert_eq!(fingerprint(held.path()).expect("hashed"), before);
        let path = held.path().to_owned();
        drop(held);
        assert!(!path.exists());
        assert!(Held::new(&model, &run.path().join("out/hold")).is_err());
    }

    #[test]
    fn a_single_changed_byte_of_a_small_file_changes_the_fingerprint() {
        let model = tempfile::tempdir().expect("a folder");
        fs::write(model.path().join("model.safetensors"), "abc").expect("written");
        let before = fingerprint(model.path()).expect("hashed");
        fs::write(model.path().join("model.safetensors"), "abd").expect("written");
        assert_ne!(fingerprint(model.path()).expect("hashed"), before);
    }
}
