//! The evaluations of one training run: which checkpoint, which tiers, into which folder; once, or
//! again and again while training goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use executor::{Cancel, Runner};
use sha2::{Digest as _, Sha256};

use crate::checkpoint::{self, Held, Look};
use crate::config::{EvalConfig, GeneratorKind};
use crate::dataset::hex;
use crate::error::EvalError;
use crate::generate::ServerHome;
use crate::pipeline::{Evaluated, Observer, Plan, Progress, Stage, Subject, SubjectKind, evaluate};
use crate::results::{Start, Summary, lock};
use crate::safetensors::Header;
use crate::select::{BestCheckpoint, refresh};
use crate::trainer_log::read_trainer_log;

/// How often an evaluation that failed for reasons of ours is tried again while watching.
const TRIES: u32 = 3;

/// What stays the same from evaluation to evaluation.
pub struct Campaign {
    /// The settings.
    pub config: EvalConfig,
    /// What runs programs.
    pub runner: Arc<dyn Runner>,
    /// How many runs go on at once.
    pub workers: usize,
    /// What network programs see.
    pub network: executor::Network,
    /// The command that runs [`crate::guard`].
    pub guard: Vec<String>,
    /// Which stages.
    pub stages: Vec<Stage>,
    /// Whether to go on from what is there.
    pub start: Start,
    /// Leaves problems without a recorded completion out.
    pub allow_missing: bool,
    /// The trainer's log with the validation loss.
    pub trainer_log: Option<PathBuf>,
    /// Thrown when the user wants to stop.
    pub cancel: Cancel,
}

/// What to evaluate, as a user says it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The run's folder, with `global_step_N`.
    pub checkpoint_dir: Option<PathBuf>,
    /// The training step.
    pub step: Option<u64>,
    /// A Hugging Face folder instead.
    pub model: Option<PathBuf>,
    /// Whether training has ended: all tiers.
    pub is_final: bool,
    /// Tiers; empty: those that are due.
    pub tiers: Vec<String>,
    /// Datasets; empty: those of the tiers.
    pub only: Vec<String>,
}

/// An evaluation that has ended.
#[derive(Debug)]
pub struct Done {
    /// Where its files are.
    pub folder: PathBuf,
    /// How it came out.
    pub evaluated: Evaluated,
    /// The best checkpoint so far.
    pub best: Option<BestCheckpoint>,
}

/// When watching ends by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Until {
    /// After one look.
    pub once: bool,
    /// When this step was evaluated.
    pub step: Option<u64>,
}

impl Campaign {
    /// Evaluates one checkpoint or model.
    ///
    /// # Errors
    ///
    /// Those of [`evaluate`]; or there is no such checkpoint, or no tier is due.
    pub fn evaluate(
        &self,
        request: &Request,
        observer: &mut dyn Observer,
    ) -> Result<Done, EvalError> {
        let datasets = self.datasets(request)?;
        let subject = self.subject(request)?;
        self.run(subject, datasets, observer)
    }

    /// The datasets that a request asks for.
    fn datasets(&self, request: &Request) -> Result<Vec<String>, EvalError> {
        if !request.only.is_empty() {
            return Ok(request.only.clone());
        }
        let all = || self.config.tiers.keys().cloned().collect::<Vec<_>>();
        let tiers = match (&request.tiers, request.step) {
            (tiers, _) if !tiers.is_empty() => tiers.clone(),
            (_, Some(step)) if !request.is_final => self.config.due(step),
            // The end, or the untrained model that everything is compared with.
            _ => all(),
        };
        if tiers.is_empty() {
            let step = request.step.unwrap_or(0);
            return Err(EvalError::invalid(format!("no tier is due at step {step}"))
                .hint(format!("--tier takes one of: {}", all().join(", "))));
        }
        self.config.datasets_of(&tiers)
    }

    fn subject(&self, request: &Request) -> Result<Subject, EvalError> {
        let kind = match (request.is_final, request.step) {
            (true, _) => SubjectKind::Final,
            (false, Some(_)) => SubjectKind::Step,
            (false, None) => SubjectKind::Baseline,
        };
        let model = match (&request.checkpoint_dir, &request.model, request.step) {
            (_, Some(model), _) => Some(model.clone()),
            (Some(run), None, Some(step)) => {
                Some(checkpoint::find(run, step, &self.config.watch.subfolders)?)
            }
            (Some(_), None, None) => {
                return Err(EvalError::invalid("--checkpoint-dir needs --step N"));
            }
            (None, None, _) => None,
        };
        if self.config.generator.kind == GeneratorKind::Vllm {
            let Some(model) = &model else {
                return Err(EvalError::invalid("there is no model to serve").hint(
                    "--checkpoint-dir DIR --step N, or --model PATH; --base-url asks a server that runs",
                ));
            };
            // A server would find out after minutes.
            for file in checkpoint::weight_files(model)? {
                Header::read(&file)?;
            }
            if !model.join("config.json").is_file() {
                return Err(EvalError::invalid(format!(
                    "{} is no Hugging Face model: no config.json",
                    model.display()
                )));
            }
        }
        let name = match (self.config.model_name.as_str(), request.step, &model) {
            ("", Some(step), _) => format!("step-{step}"),
            ("", None, Some(model)) => {
                // `.` and `..` stand for a folder that has a name.
                let whole = fs::canonicalize(model).map_err(EvalError::read(model))?;
                let name = model.file_name().or(whole.file_name());
                name.unwrap_or_default().to_string_lossy().into_owned()
            }
            ("", None, None) => self.config.generator.kind.as_str().to_owned(),
            (name, ..) => name.to_owned(),
        };
        let mut fingerprint = match &model {
            Some(model) => Some(checkpoint::fingerprint(model)?),
            None => None,
        };
        if self.config.generator.kind == GeneratorKind::Replay {
            let recorded = self.recorded(request.step);
            fingerprint = Some(hash_of_files(&recorded)?);
        }
        Ok(Subject {
            kind,
            step: request.step,
            name,
            // Whoever reads the results stands elsewhere.
            model_path: model.as_ref().map(|path| {
                let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                absolute.display().to_string()
            }),
            model,
            fingerprint,
        })
    }

    /// Where recorded completions are: `{step}` in the name stands for the step.
    fn recorded(&self, step: Option<u64>) -> PathBuf {
        let path = self.config.generator.completions.to_string_lossy();
        match step {
            Some(step) => path.replace("{step}", &step.to_string()).into(),
            None => self.config.generator.completions.clone(),
        }
    }

    fn run(
        &self,
        mut subject: Subject,
        datasets: Vec<String>,
        observer: &mut dyn Observer,
    ) -> Result<Done, EvalError> {
        let out = &self.config.out;
        let folder = out.join(match (subject.kind, subject.step) {
            (SubjectKind::Final, _) => "eval_final".to_owned(),
            (SubjectKind::Step, Some(step)) => format!("eval_step_{step}"),
            _ => "eval_baseline".to_owned(),
        });
        fs::create_dir_all(&folder).map_err(EvalError::write(&folder))?;
        // Training goes on, and deletes old checkpoints while this one is evaluated.
        let mut held = None;
        if let (Some(model), GeneratorKind::Vllm) = (&subject.model, self.config.generator.kind)
            && subject.step.is_some()
        {
            let name = folder.file_name().unwrap_or_default();
            let holds = out.join(".hold");
            remove_abandoned(&holds);
            // A second process must not take the files from under a server. The name is the same each
            // time: what a server says of its configuration, and what it has compiled, hangs on it.
            let own = holds.join(name);
            let lock = lock_hold(&own, &folder)?;
            let hold = Held::new(model, &own.join(HELD))?;
            subject.model = Some(hold.path().to_owned());
            held = Some((hold, lock));
        }
        let mut config = self.config.clone();
        config.generator.completions = self.recorded(subject.step);
        let plan = Plan {
            config,
            subject,
            datasets,
            stages: self.stages.clone(),
            start: self.start,
            allow_missing: self.allow_missing,
            workers: self.workers,
            network: self.network,
            folder: folder.clone(),
        };
        let home = ServerHome {
            guard: self.guard.clone(),
            logs: folder.join("server"),
        };
        let evaluated = evaluate(&plan, self.runner.clone(), &home, &self.cancel, observer)?;
        drop(held);
        let best = match self.stages.contains(&Stage::Metrics) {
            true => refresh(out, &self.config, &self.val_loss()?)?,
            false => None,
        };
        Ok(Done {
            folder,
            evaluated,
            best,
        })
    }

    fn val_loss(&self) -> Result<BTreeMap<u64, f64>, EvalError> {
        match &self.trainer_log {
            Some(path) => read_trainer_log(path),
            None => Ok(BTreeMap::new()),
        }
    }

    /// Evaluates the checkpoints of a run as they become ready, each with the tiers that are due,
    /// until `until` or the user says stop. `done` hears of each.
    ///
    /// # Errors
    ///
    /// Settings or data that are wrong, or a full disk. An evaluation that fails for reasons of
    /// ours is noted and tried again; a checkpoint that was deleted is noted and left out.
    pub fn watch(
        &self,
        run: &Path,
        until: Until,
        observer: &mut dyn Observer,
        done: &mut dyn FnMut(&Done) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let poll = Duration::from_secs_f64(self.config.watch.poll_s);
        let mut looks: BTreeMap<u64, Look> = BTreeMap::new();
        let mut failures: BTreeMap<u64, u32> = BTreeMap::new();
        let mut gone: BTreeSet<u64> = BTreeSet::new();
        let mut lost: BTreeMap<u64, u32> = BTreeMap::new();
        let mut rounds = 0;
        if let Some(step) = until.step
            && self.config.datasets_of(&self.config.due(step))?.is_empty()
        {
            return Err(
                EvalError::invalid(format!("no tier is due at step {step}")).hint(
                    "--until-step names a step that is evaluated; tiers.N.every_steps says which",
                ),
            );
        }
        loop {
            rounds += 1;
            let steps = match checkpoint::steps(run) {
                Ok(steps) => steps,
                // The trainer makes it with its first checkpoint.
                Err(_) if !run.exists() && !until.once => Vec::new(),
                Err(error) => return Err(error),
            };
            for step in steps {
                if self.cancel.is_cancelled() {
                    return Err(EvalError::Interrupted);
                }
                let tiers = self.config.due(step);
                let datasets = self.config.datasets_of(&tiers)?;
                if datasets.is_empty() || gone.contains(&step) || self.has(step, &datasets) {
                    continue;
                }
                if failures.get(&step).is_some_and(|tries| *tries >= TRIES) {
                    continue;
                }
                if !self.is_ready(run, step, &mut looks) {
                    continue;
                }
                observer.on(Progress::Note(format!(
                    "step {step}: tier {}",
                    tiers.join(", ")
                )))?;
                let request = Request {
                    checkpoint_dir: Some(run.to_owned()),
                    step: Some(step),
                    ..Request::default()
                };
                match self.evaluate(&request, observer) {
                    Ok(finished) => {
                        let void = finished.evaluated.void.is_some();
                        done(&finished)?;
                        if void {
                            *failures.entry(step).or_default() += 1;
                        }
                    }
                    Err(error) if !checkpoint::step_folder(run, step).is_dir() => {
                        gone.insert(step);
                        observer.on(Progress::Note(format!(
                            "step {step}: the checkpoint was deleted before it could be evaluated ({error})"
                        )))?;
                    }
                    Err(EvalError::Failed { what, log, hint }) => {
                        let tries = failures.entry(step).or_default();
                        *tries += 1;
                        let next = match *tries < TRIES {
                            true => "it is tried again",
                            false => "it is left out",
                        };
                        let mut note = format!("step {step}: {what}; {next}");
                        let hint = hint.map(|hint| format!("hint: {hint}"));
                        for line in log.iter().map(|line| format!("| {line}")).chain(hint) {
                            note += &format!("\n  {line}");
                        }
                        observer.on(Progress::Note(note))?;
                    }
                    // The trainer is in the middle of deleting it.
                    Err(error) if self.is_lost(run, step, &error) => {
                        looks.remove(&step);
                        // One that only looks whole must not be tried for ever.
                        let times = lost.entry(step).or_default();
                        *times += 1;
                        let next = match *times < TRIES {
                            true => "left alone unless it becomes whole again",
                            false => "left out",
                        };
                        if *times >= TRIES {
                            failures.insert(step, TRIES);
                        }
                        observer.on(Progress::Note(format!(
                            "step {step}: files of the checkpoint went away ({error}); it is {next}"
                        )))?;
                    }
                    Err(error) => return Err(error),
                }
            }
            let reached = until.step.is_some_and(|step| {
                let tiers = self.config.due(step);
                let datasets = self.config.datasets_of(&tiers).unwrap_or_default();
                let left_out = failures.get(&step).is_some_and(|tries| *tries >= TRIES);
                self.has(step, &datasets) || gone.contains(&step) || left_out
            });
            // Two looks, because a checkpoint is ready when two looks are the same.
            if reached || until.once && rounds >= 2 {
                return self.none_failed(failures.into_keys());
            }
            let wait = if until.once {
                poll.min(Duration::from_secs(2))
            } else {
                poll
            };
            let deadline = Instant::now() + wait;
            while Instant::now() < deadline {
                if self.cancel.is_cancelled() {
                    return Err(EvalError::Interrupted);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// Whether each of these steps, which failed at first, was evaluated after all.
    fn none_failed(&self, steps: impl Iterator<Item = u64>) -> Result<(), EvalError> {
        let mut left = Vec::new();
        for step in steps {
            if !self.has(step, &self.config.datasets_of(&self.config.due(step))?) {
                left.push(step.to_string());
            }
        }
        match left.is_empty() {
            true => Ok(()),
            false => Err(EvalError::failed(format!(
                "steps that could not be evaluated: {}",
                left.join(", ")
            ))
            .hint("why is said above; the same command tries them again")),
        }
    }

    /// Whether an evaluation failed because its checkpoint is no longer whole.
    fn is_lost(&self, run: &Path, step: u64, error: &EvalError) -> bool {
        let vanished = matches!(error, EvalError::Read { path, source }
            if source.kind() == io::ErrorKind::NotFound && path.starts_with(checkpoint::step_folder(run, step)));
        let whole = checkpoint::find(run, step, &self.config.watch.subfolders)
            .is_ok_and(|model| checkpoint::incomplete(&model).is_none());
        vanished || !whole
    }

    /// Whether a step was evaluated on all of these datasets.
    fn has(&self, step: u64, datasets: &[String]) -> bool {
        let path = self
            .config
            .out
            .join(format!("eval_step_{step}/summary.json"));
        Summary::read(&path).is_ok_and(|summary| {
            let usable = summary
                .evaluation
                .as_ref()
                .is_some_and(|about| about.usable);
            usable
                && datasets
                    .iter()
                    .all(|slug| summary.datasets.contains_key(slug))
        })
    }

    /// Whether a checkpoint is whole: the trainer says so, nothing has changed since the last
    /// look, and every header describes its file.
    fn is_ready(&self, run: &Path, step: u64, looks: &mut BTreeMap<u64, Look>) -> bool {
        if checkpoint::announced(run, step) == Some(false) {
            return false;
        }
        let Ok(model) = checkpoint::find(run, step, &self.config.watch.subfolders) else {
            return false;
        };
        let Ok(look) = Look::at(&model) else {
            return false;
        };
        let same = looks
            .insert(step, look.clone())
            .is_some_and(|before| before == look);
        same && checkpoint::incomplete(&model).is_none()
    }
}

/// The folder, beside the lock of the process that holds it, with the files of a checkpoint.
const HELD: &str = "model";

/// Locks the place where a checkpoint is held while it is evaluated into `folder`.
fn lock_hold(own: &Path, folder: &Path) -> Result<File, EvalError> {
    fs::create_dir_all(own).map_err(EvalError::write(own))?;
    lock(own).map_err(|error| match error {
        EvalError::FolderInUse { pid, .. } => EvalError::FolderInUse {
            path: folder.to_owned(),
            pid,
        },
        error => error,
    })
}

/// Removes what processes that were killed have held.
fn remove_abandoned(holds: &Path) {
    let Ok(entries) = fs::read_dir(holds) else {
        return;
    };
    for own in entries.flatten().map(|entry| entry.path()) {
        if own.join(HELD).exists()
            && let Ok(_lock) = lock(&own)
        {
            let _ = fs::remove_dir_all(own.join(HELD));
        }
    }
}

/// sha256 over a file, or over the files of a folder with their names.
fn hash_of_files(path: &Path) -> Result<String, EvalError> {
    let mut hash = Sha256::new();
    let mut add = |path: &Path| -> io::Result<()> {
        let mut file = File::open(path)?;
        let mut chunk = vec![0; 1 << 16];
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(()),
                n => hash.update(&chunk[..n]),
            }
        }
    };
    if path.is_dir() {
        let entries = fs::read_dir(path).map_err(EvalError::read(path))?;
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
            .collect();
        files.sort();
        for file in files {
            add(&file).map_err(EvalError::read(&file))?;
        }
    } else if path.as_os_str().is_empty() {
        return Err(EvalError::invalid("there are no completions to replay")
            .hint("set generator.completions, or give --completions FILE|DIR"));
    } else {
        add(path).map_err(EvalError::read(path))?;
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use executor::{Interpreter, Isolation, RunReport, RunRequest, SandboxError};

    use super::*;

    /// For evaluations that end before anything runs.
    struct NoRunner;

    impl Runner for NoRunner {
        fn run_until(&self, _: &RunRequest, _: Option<&Cancel>) -> Result<RunReport, SandboxError> {
            unreachable!("nothing is judged")
        }
        fn isolation(&self) -> Isolation {
            unreachable!("nothing is judged")
        }
        fn backend(&self) -> &'static str {
            unreachable!("nothing is judged")
        }
        fn interpreter(&self) -> &Interpreter {
            unreachable!("nothing is judged")
        }
    }

    /// Keeps the notes; does something at each.
    struct Meanwhile<F: FnMut(&str) + Send>(Vec<String>, F);

    /// What the note says with which an evaluation begins.
    const BEGINS: &str = ": tier ";

    impl<F: FnMut(&str) + Send> Observer for Meanwhile<F> {
        fn on(&mut self, progress: Progress<'_>) -> Result<(), EvalError> {
            if let Progress::Note(text) = progress {
                (self.1)(&text);
                self.0.push(text);
            }
            Ok(())
        }
    }

    fn campaign(out: &Path) -> Campaign {
        let mut config = EvalConfig::load(None, &[]).expect("the defaults");
        config.out = out.to_owned();
        config.watch.poll_s = 0.01;
        Campaign {
            config,
            runner: Arc::new(NoRunner),
            workers: 1,
            network: executor::Network::None,
            guard: Vec::new(),
            stages: Stage::ALL.to_vec(),
            start: Start::Resume,
            allow_missing: false,
            trainer_log: None,
            cancel: Cancel::new().expect("a switch"),
        }
    }

    fn checkpoint(run: &Path, step: u64) -> PathBuf {
        let model = run.join(format!("global_step_{step}/huggingface"));
        fs::create_dir_all(&model).expect("made");
        fs::write(model.join("config.json"), "{}").expect("written");
        let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header);
        file.extend([0; 4]);
        fs::write(model.join("model.safetensors"), file).expect("written");
        model
    }

    #[test]
    fn a_checkpoint_of_which_files_go_away_ends_no_watch() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = folder.path().join("phase_1_ SFT – größer");
        for (what, file) in [
            ("its configuration", "config.json"),
            ("its weights", "model.safetensors"),
        ] {
            let model = checkpoint(&run, 500);
            let campaign = campaign(&folder.path().join("out"));
            let mut seen = Meanwhile(Vec::new(), |note| {
                if note.contains(BEGINS) {
                    // The rest of the step's folder is still there.
                    fs::remove_file(model.join(file)).expect("removed");
                }
            });
            let once = Until {
                once: true,
                step: None,
            };
            let watched = campaign.watch(&run, once, &mut seen, &mut |_| Ok(()));
            assert!(watched.is_ok(), "{what}: {watched:?}");
            assert!(
                seen.0[1].contains("files of the checkpoint went away"),
                "{what}: {:?}",
                seen.0
            );
        }
    }

    #[test]
    fn a_checkpoint_whose_files_keep_going_away_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = folder.path().join("run");
        let file = checkpoint(&run, 500).join("config.json");
        let mut begun = 0;
        let mut seen = Meanwhile(Vec::new(), |note| {
            if note.contains(BEGINS) {
                begun += 1;
                assert!(begun <= TRIES, "it is tried for ever");
                fs::remove_file(&file).expect("removed");
            } else {
                fs::write(&file, "{}").expect("back again");
            }
        });
        let until = Until {
            once: false,
            step: Some(500),
        };
        let error = campaign(&folder.path().join("out"))
            .watch(&run, until, &mut seen, &mut |_| Ok(()))
            .expect_err("it is left out");
        assert_eq!(error.to_string(), "steps that could not be evaluated: 500");
        let last = seen.0.last().expect("notes");
        assert!(last.ends_with("it is left out"), "{:?}", seen.0);
        assert_eq!(begun, TRIES);
    }

    #[test]
    fn watching_until_a_step_that_is_never_due_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let campaign = campaign(&folder.path().join("out"));
        let until = Until {
            once: false,
            step: Some(750),
        };
        let mut seen = Meanwhile(Vec::new(), |_| {});
        let error = campaign
            .watch(folder.path(), until, &mut seen, &mut |_| Ok(()))
            .expect_err("never due");
        assert_eq!(error.to_string(), "no tier is due at step 750");
    }
}
