//! The folder that an interpreter is installed in: what may be trusted, what has to be made anew.
//!
//! # Theory of operation
//!
//!   manifest.json                       what is installed; written last, so all it names is there
//!   {sha256}.wasm, .zip, .txt           the parts, named by their hash
//!   {sha256}.image                      what the module's memory begins with, as it is mapped
//!   {sha256}-{wasmtime}-{config}.cwasm  the rest of it compiled for one mode on this kind of processor
//!   ….image.sha256, ….cwasm.sha256      those files' hashes
//!   lock                                held while anything is written
//!
//! wasmtime runs what a `.cwasm` says without asking, so it must be nobody else's: the folder has
//! mode 0700, the file 0600, both belong to the user, and a file whose bytes are not those that were
//! compiled is refused. A new version of wasmtime, another configuration or another processor gives
//! another name, and so another file. Every file appears whole, by rename.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasmtime::{Engine, Module};

use crate::engine::{self, Mode, WASMTIME_VERSION};
use crate::guest::Guests;
use crate::image::{self, Image};
use crate::sandbox::Bundle;
use crate::setup::{self, Manifest, Parts, SCHEMA};

/// The command that installs an interpreter from nothing.
const BUILD: &str = "codejury wasm setup --build";
/// The release file of a bundle or a wheel, seen from the folder of the executable.
const CARRIED: &str = "../share/codejury/python-wasm.tar.zst";

/// The release file that came with this executable, if one did.
pub fn carried() -> Option<PathBuf> {
    let file = std::env::current_exe().ok()?.parent()?.join(CARRIED);
    // By the name it really has: messages show it.
    file.canonicalize().ok().filter(|file| file.is_file())
}

/// The command that installs an interpreter.
pub fn setup_command() -> &'static str {
    match carried() {
        Some(_) => "codejury wasm setup",
        None => BUILD,
    }
}

/// Why there is no interpreter to run programs with.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Nobody has installed one.
    #[error("no interpreter for the wasm backend is installed in {}", .0.display())]
    NotInstalled(PathBuf),
    /// No variable says where one could be.
    #[error(
        "neither CODEJURY_WASM_DIR, XDG_DATA_HOME nor HOME names a folder for the wasm backend"
    )]
    NoFolder,
    /// The folder or a file in it could have been written by others.
    #[error("{} cannot be trusted: {reason}", path.display())]
    Untrusted {
        /// The folder or file.
        path: PathBuf,
        /// Its owner or mode.
        reason: String,
    },
    /// A file is not what was installed.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In what way.
        reason: String,
    },
    /// A file that was given is not what it should be.
    #[error("{} is no interpreter for the wasm backend: {reason}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// In what way.
        reason: String,
    },
    /// The build failed.
    #[error("the interpreter could not be built: {0}")]
    Build(String),
    /// A module that was installed whole cannot be compiled or loaded here.
    #[error("the interpreter cannot be compiled: {0}")]
    Compile(String),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SetupError {
    pub(crate) fn write(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        Self::Write { path, source }
    }

    pub(crate) fn unfit(path: &Path, reason: impl ToString) -> Self {
        Self::Unfit {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NotInstalled(_) if carried().is_some() => {
                format!("`{}` installs the one that came with codejury", setup_command())
            }
            Self::NotInstalled(_) => format!(
                "`{BUILD}` builds and installs one, `codejury wasm setup --python FILE` installs a release file"
            ),
            Self::NoFolder => "set CODEJURY_WASM_DIR to a folder of your own".to_owned(),
            Self::Untrusted { path, .. } => format!(
                "it must be yours alone: `chown` and `chmod go-rwx {}`, or name another folder with CODEJURY_WASM_DIR",
                path.display()
            ),
            Self::Damaged { path, .. }
                if path.extension().is_some_and(|end| end == "cwasm" || end == "image") =>
            {
                "`codejury wasm setup` compiles it anew".to_owned()
            }
            Self::Damaged { .. } => {
                format!("install it again: `{BUILD}`, or `codejury wasm setup --python FILE`")
            }
            Self::Unfit { .. } => {
                format!("`codejury wasm pack FILE` writes one where it is installed, `{BUILD}` needs none")
            }
            Self::Build(_) => "`codejury wasm setup --help` says what a build needs".to_owned(),
            Self::Compile(_) => format!("`{BUILD}` builds and installs one that fits"),
            Self::Read { .. } => "name a file that is there and that you may read".to_owned(),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room, or name a folder on another disk with CODEJURY_WASM_DIR; nothing was installed".to_owned()
            }
            Self::Write { .. } => "name a folder that you may write to with CODEJURY_WASM_DIR".to_owned(),
        }
    }
}

/// A folder with, or for, an installed interpreter.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache in `folder`, which need not be there yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The cache in [`setup::folder`].
    ///
    /// # Errors
    ///
    /// No variable says where that is.
    pub fn of_user() -> Result<Self, SetupError> {
        Ok(Self::new(setup::folder()?))
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The installed interpreter, compiled for `mode`: now, if this version of wasmtime, this
    /// configuration or this processor has not been seen before, which takes seconds.
    ///
    /// # Errors
    ///
    /// None is installed, or what is there cannot be trusted, is damaged, or cannot be compiled.
    pub fn installed(&self, mode: Mode) -> Result<Bundle, SetupError> {
        let manifest = self.manifest()?;
        let stdlib = self.part(&manifest.stdlib_sha256, "zip");
        checked(&stdlib, &manifest.stdlib_sha256)?;
        let engine = new_engine(mode)?;
        let compiled = self.compiled(&manifest, &engine);
        let image = self.part(&manifest.module_sha256, "image");
        let there = || compiled.exists() && image.exists();
        if !there() {
            let _lock = self.lock()?;
            // Another process may have been faster.
            if !there() {
                let module = self.part(&manifest.module_sha256, "wasm");
                let bytes = checked(&module, &manifest.module_sha256)?;
                let (code, memory) = apart(&bytes, &module)?;
                self.keep_compiled(&image, &memory.file())?;
                self.keep_compiled(&compiled, &compile(&engine, &code, &module)?)?;
            }
        }
        verify_compiled(&image)?;
        verify_compiled(&compiled)?;
        Ok(Bundle {
            compiled,
            image: Some(image),
            stdlib,
            module_sha256: manifest.module_sha256,
            python_version: manifest.python_version,
        })
    }

    /// Installs an interpreter and compiles it for both modes. What was installed before is used
    /// until all of it is there; if anything fails, it stays.
    ///
    /// # Errors
    ///
    /// The module is none that can run here, or the folder cannot be trusted or written.
    pub fn install(&self, parts: &Parts) -> Result<(), SetupError> {
        // Before anything is written: is it one?
        let path = self.part(&parts.manifest.module_sha256, "wasm");
        let (code, memory) = apart(&parts.module, &path)?;
        let image = self.part(&parts.manifest.module_sha256, "image");
        let mut compiled = vec![(image, memory.file())];
        for mode in Mode::ALL {
            let engine = new_engine(mode)?;
            let code = compile(&engine, &code, &path)?;
            compiled.push((self.compiled(&parts.manifest, &engine), code));
        }
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&self.folder)
            .map_err(|source| SetupError::write(&self.folder, source))?;
        own(&self.folder, false)?;
        let _lock = self.lock()?;
        for ((_, bytes, hash), end) in parts.named().into_iter().zip(["wasm", "zip", "txt"]) {
            self.keep(&self.part(hash, end), bytes)?;
        }
        for (path, code) in &compiled {
            self.keep_compiled(path, code)?;
        }
        let text = setup::manifest_text(&parts.manifest);
        self.keep(&self.folder.join("manifest.json"), text.as_bytes())?;
        self.remove_unused(&parts.manifest)
    }

    /// Removes what other interpreters or versions of wasmtime were compiled to, unless a process still
    /// starts workers from it. What other processors need of this one stays.
    fn remove_unused(&self, manifest: &Manifest) -> Result<(), SetupError> {
        let current = format!("{}-{WASMTIME_VERSION}-", manifest.module_sha256);
        let image = format!("{}.image", manifest.module_sha256);
        let read = |source| SetupError::Read {
            path: self.folder.clone(),
            source,
        };
        for entry in fs::read_dir(&self.folder).map_err(read)? {
            let path = entry.map_err(read)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let made_here = name.ends_with(".cwasm") || name.ends_with(".image");
            if !made_here || name.starts_with(&current) || *name == image {
                continue;
            }
            let unused = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
            if unused {
                for path in [&path, &hash_path(&path)] {
                    match fs::remove_file(path) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(SetupError::write(path, error));
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Compiles what is installed again, whatever is there.
    ///
    /// # Errors
    ///
    /// As [`Self::install`], or nothing whole is installed.
    pub fn recompile(&self) -> Result<Manifest, SetupError> {
        let parts = self.parts()?;
        self.install(&parts)?;
        Ok(parts.manifest)
    }

    /// The installed interpreter's parts, each checked.
    ///
    /// # Errors
    ///
    /// None is installed, or one is damaged.
    pub fn parts(&self) -> Result<Parts, SetupError> {
        let manifest = self.manifest()?;
        let part = |hash: &str, end| checked(&self.part(hash, end), hash);
        Ok(Parts {
            module: part(&manifest.module_sha256, "wasm")?,
            stdlib: part(&manifest.stdlib_sha256, "zip")?,
            licences: part(&manifest.licences_sha256, "txt")?,
            manifest,
        })
    }

    /// What is installed, as its manifest has it.
    ///
    /// # Errors
    ///
    /// None is installed, or the folder cannot be trusted.
    pub fn manifest(&self) -> Result<Manifest, SetupError> {
        if !self.folder.exists() {
            return Err(SetupError::NotInstalled(self.folder.clone()));
        }
        own(&self.folder, false)?;
        let path = self.folder.join("manifest.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SetupError::NotInstalled(self.folder.clone()));
            }
            Err(source) => return Err(SetupError::Read { path, source }),
        };
        let damaged = |reason: String| SetupError::Damaged {
            path: path.clone(),
            reason,
        };
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if manifest.schema != SCHEMA {
            return Err(damaged(format!("its form is not {SCHEMA}")));
        }
        let hashes = [
            &manifest.module_sha256,
            &manifest.stdlib_sha256,
            &manifest.licences_sha256,
        ];
        // They are parts of file names.
        if hashes
            .iter()
            .any(|hash| hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return Err(damaged("a hash in it is none".to_owned()));
        }
        Ok(manifest)
    }

    /// The compiled module for a mode that is already there and may be used; nothing is compiled.
    ///
    /// # Errors
    ///
    /// Nothing is installed, or what is there may not be used.
    pub fn compiled_for(&self, mode: Mode) -> Result<Option<PathBuf>, SetupError> {
        let manifest = self.manifest()?;
        let path = self.compiled(&manifest, &new_engine(mode)?);
        let image = self.part(&manifest.module_sha256, "image");
        if !path.exists() || !image.exists() {
            return Ok(None);
        }
        verify_compiled(&image)?;
        verify_compiled(&path)?;
        Ok(Some(path))
    }

    fn part(&self, hash: &str, end: &str) -> PathBuf {
        self.folder.join(format!("{hash}.{end}"))
    }

    fn compiled(&self, manifest: &Manifest, engine: &Engine) -> PathBuf {
        let config = engine::config_hash(engine);
        self.folder.join(format!(
            "{}-{WASMTIME_VERSION}-{config}.cwasm",
            manifest.module_sha256
        ))
    }

    /// Waits until no other process writes here.
    fn lock(&self) -> Result<File, SetupError> {
        let path = self.folder.join("lock");
        let failed = |source| SetupError::write(&path, source);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    fn keep(&self, path: &Path, bytes: &[u8]) -> Result<(), SetupError> {
        write_atomically(path, 0o600, |file| file.write_all(bytes))
            .map_err(|source| SetupError::write(path, source))
    }

    fn keep_compiled(&self, path: &Path, code: &[u8]) -> Result<(), SetupError> {
        // The hash first: a file without one is refused, a hash without a file does no harm.
        self.keep(&hash_path(path), setup::sha256(code).as_bytes())?;
        self.keep(path, code)
    }
}

/// Writes a file that is whole when it appears.
pub(crate) fn write_atomically(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".part-")
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    write(file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn hash_path(compiled: &Path) -> PathBuf {
    compiled.with_added_extension("sha256")
}

fn new_engine(mode: Mode) -> Result<Engine, SetupError> {
    engine::engine(mode).map_err(|error| SetupError::Compile(format!("{error:#}")))
}

/// A module's code and the image of its memory.
fn apart(module: &[u8], path: &Path) -> Result<(Vec<u8>, Image), SetupError> {
    image::split(module).map_err(|reason| SetupError::unfit(path, reason))
}

/// Code for a module, if it is one of ours: with our exports, and asking for nothing that we lack.
fn compile(engine: &Engine, module: &[u8], path: &Path) -> Result<Vec<u8>, SetupError> {
    let unfit = |error: wasmtime::Error| SetupError::unfit(path, format!("{error:#}"));
    let module = Module::from_binary(engine, module).map_err(unfit)?;
    let run = module.get_export(crate::RUN);
    let runs = run
        .as_ref()
        .and_then(|export| export.func())
        .is_some_and(|run| {
            run.params().len() == 0
                && run.results().len() == 1
                && run.results().all(|result| result.is_i32())
        });
    if !runs {
        let reason = format!("it exports no `{}` that returns a status", crate::RUN);
        return Err(SetupError::unfit(path, reason));
    }
    if module
        .get_export("memory")
        .is_none_or(|export| export.memory().is_none())
    {
        return Err(SetupError::unfit(path, "it exports no `memory`"));
    }
    Guests::of(engine.clone(), &module, Arc::from([]), Mode::Deterministic).map_err(unfit)?;
    module.serialize().map_err(unfit)
}

/// Whether a folder or file is the user's alone.
fn own(path: &Path, is_file: bool) -> Result<(), SetupError> {
    let seen = fs::symlink_metadata(path).map_err(|source| SetupError::Read {
        path: path.to_owned(),
        source,
    })?;
    // A folder may be reached through a link; what counts is the folder.
    let seen = match is_file {
        true => seen,
        false => fs::metadata(path).map_err(|source| SetupError::Read {
            path: path.to_owned(),
            source,
        })?,
    };
    let user = nix::unistd::geteuid().as_raw();
    let reason = if is_file != seen.is_file() || is_file == seen.is_dir() {
        format!(
            "it is no {}",
            if is_file { "regular file" } else { "folder" }
        )
    } else if seen.uid() != user {
        format!("it belongs to user {}, and this is user {user}", seen.uid())
    } else if seen.mode() & 0o077 != 0 {
        format!(
            "its mode is {:04o}: others can use it",
            seen.mode() & 0o7777
        )
    } else {
        return Ok(());
    };
    Err(SetupError::Untrusted {
        path: path.to_owned(),
        reason,
    })
}

/// A part's bytes, if they are those that were installed.
fn checked(path: &Path, hash: &str) -> Result<Vec<u8>, SetupError> {
    let damaged = |reason: String| SetupError::Damaged {
        path: path.to_owned(),
        reason,
    };
    own(path, true).map_err(|error| match error {
        SetupError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            damaged("it is gone".to_owned())
        }
        other => other,
    })?;
    let bytes = fs::read(path).map_err(|source| SetupError::Read {
        path: path.to_owned(),
        source,
    })?;
    let is = setup::sha256(&bytes);
    if is == hash {
        Ok(bytes)
    } else {
        Err(damaged(format!("its hash is {is} ({} bytes)", bytes.len())))
    }
}

/// Refuses a compiled module that could be another's, or is not what was compiled.
fn verify_compiled(path: &Path) -> Result<(), SetupError> {
    let beside = hash_path(path);
    let hash = match fs::read_to_string(&beside) {
        Ok(hash) => hash,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SetupError::Damaged {
                path: path.to_owned(),
                reason: "the hash beside it is gone".to_owned(),
            });
        }
        Err(source) => {
            return Err(SetupError::Read {
                path: beside,
                source,
            });
        }
    };
    own(&beside, true)?;
    checked(path, hash.trim()).map(|_| ())
}
