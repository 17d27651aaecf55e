//! Generating and judging at the same time.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use executor::{Cancel, Runner};
use judge::{Judge, Verdict};

use super::prepare::DatasetRun;
use super::{Plan, Progress, Stage, lock};
use crate::config::{GeneratorKind, Style};
use crate::error::EvalError;
use crate::generate::{
    CompletionRecord, Fleet, FleetEvent, Job, Key, Launch, ServerHome, reference, replay,
};
use crate::judging::{Ledger, judge_answers};

/// How many keys of completions may wait for the judge.
const WAITING_KEYS: usize = 1 << 16;
/// How often a waiting thread looks whether it should end.
const POLL: Duration = Duration::from_millis(50);

/// What the two sides of an evaluation share.
pub(super) struct Session<'a> {
    pub(super) plan: &'a Plan,
    pub(super) home: &'a ServerHome,
    pub(super) cancel: &'a Cancel,
    pub(super) runs: &'a [DatasetRun],
    /// Thrown when judging cannot go on.
    pub(super) stop: AtomicBool,
    pub(super) tell: &'a (dyn Fn(Progress<'_>) -> Result<(), EvalError> + Sync),
}

impl Session<'_> {
    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.cancel.is_cancelled()
    }

    pub(super) fn has(&self, stage: Stage) -> bool {
        self.plan.stages.contains(&stage)
    }

    pub(super) fn generate_and_judge(
        &self,
        ledgers: &mut BTreeMap<String, Ledger>,
        backlog: Vec<Key>,
        runner: Arc<dyn Runner>,
    ) -> Result<(), EvalError> {
        let todo: Vec<Key> = (0..)
            .zip(self.runs)
            .flat_map(|(dataset, run)| {
                let completions = lock(&run.completions);
                let missing = run
                    .keys(dataset)
                    .filter(|key| !completions.is_settled(run.id(*key), key.sample));
                missing.collect::<Vec<_>>()
            })
            .collect();
        if !self.has(Stage::Completions) && self.has(Stage::Verdicts) && !todo.is_empty() {
            return Err(EvalError::invalid(format!(
                "{} samples have no completion yet",
                todo.len()
            ))
            .hint("run the stage `completions` first"));
        }
        let (sender, receiver) = sync_channel(WAITING_KEYS);
        thread::scope(|scope| {
            let generator = scope.spawn(|| match self.has(Stage::Completions) {
                true => self.generate(todo, sender),
                false => {
                    drop(sender);
                    Ok(())
                }
            });
            let judged = match self.has(Stage::Verdicts) {
                true => self.judge(ledgers, backlog, receiver, runner),
                false => {
                    receiver.iter().for_each(drop);
                    Ok(())
                }
            };
            if judged.is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
            let generated = generator.join().expect("the generator does not panic");
            // The judge stops the generator, never the other way round: its error is the cause.
            judged.and(generated)
        })
    }

    fn judge(
        &self,
        ledgers: &mut BTreeMap<String, Ledger>,
        backlog: Vec<Key>,
        receiver: Receiver<Key>,
        runner: Arc<dyn Runner>,
    ) -> Result<(), EvalError> {
        let config = self
            .plan
            .config
            .judge_config(self.plan.workers, self.plan.network);
        let judge = Judge::new(config, runner)?;
        let live = std::iter::from_fn(move || {
            loop {
                match receiver.recv_timeout(POLL) {
                    Ok(key) => return Some(key),
                    Err(RecvTimeoutError::Timeout) if self.cancel.is_cancelled() => return None,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
        });
        let answers = backlog.into_iter().chain(live).map(|key| {
            let run = &self.runs[key.dataset as usize];
            run.answer(key).map(|answer| vec![answer])
        });
        judge_answers(
            &judge,
            self.cancel,
            ledgers,
            answers,
            &mut |verdict: &Verdict| (self.tell)(Progress::Verdict(verdict)),
        )
    }

    /// Makes every completion that is missing; the key of each is sent once its row is on disk.
    fn generate(&self, todo: Vec<Key>, sender: SyncSender<Key>) -> Result<(), EvalError> {
        if todo.is_empty() {
            return Ok(());
        }
        let mut deliver = |key: Key, row: CompletionRecord| -> Result<(), EvalError> {
            let run = &self.runs[key.dataset as usize];
            lock(&run.completions).append(&row.to_line())?;
            (self.tell)(Progress::Generated {
                dataset: &run.slug,
                row: &row,
            })?;
            // Nobody listens any more only when judging has failed, which says why itself.
            let _ = sender.send(key);
            Ok(())
        };
        match self.plan.config.generator.kind {
            GeneratorKind::Reference | GeneratorKind::Replay => {
                for key in todo {
                    if self.stopping() {
                        break;
                    }
                    let run = &self.runs[key.dataset as usize];
                    let row = match &run.recorded {
                        Some(recorded) => replay(recorded, run.id(key), key.sample)?,
                        None => reference(&run.store, key.problem as usize)?,
                    };
                    let row = row.expect("only what is there was asked for");
                    deliver(key, row)?;
                }
                Ok(())
            }
            GeneratorKind::Vllm | GeneratorKind::Openai => self.ask_servers(todo, &mut deliver),
        }
    }

    fn ask_servers(
        &self,
        todo: Vec<Key>,
        deliver: &mut dyn FnMut(Key, CompletionRecord) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| EvalError::failed(format!("cannot start threads: {error}")))?;
        let mut styles: Vec<Style> = Vec::new();
        for key in &todo {
            let style = self.runs[key.dataset as usize].style;
            if !styles.contains(&style) {
                styles.push(style);
            }
        }
        let jobs = todo.into_iter().map(|key| {
            let run = &self.runs[key.dataset as usize];
            let prompt = &run.prompts[key.problem as usize];
            Job {
                key,
                problem_id: prompt.problem_id.clone(),
                style: run.style,
                prompt: prompt.prompt.clone(),
                stop: run.stop.clone(),
            }
        });
        let (events, heard) = std::sync::mpsc::channel();
        let tell_events = || -> Result<(), EvalError> {
            while let Ok(event) = heard.try_recv() {
                (self.tell)(Progress::Note(words_of(&event)))?;
            }
            Ok(())
        };
        let stop = || self.stopping();
        let config = &self.plan.config;
        let outcome = runtime.block_on(async {
            let launches = self.launches()?;
            let name = match config.generator.kind {
                // A server that runs has names of its own.
                GeneratorKind::Openai => config.model_name.clone(),
                _ => self.plan.subject.name.clone(),
            };
            let fleet = Fleet::open(config, launches, &name, &styles, &stop, move |event| {
                let _ = events.send(event);
            });
            let fleet = {
                tokio::pin!(fleet);
                loop {
                    tokio::select! {
                        fleet = &mut fleet => break fleet?,
                        () = tokio::time::sleep(Duration::from_millis(200)) => tell_events()?,
                    }
                }
            };
            tell_events()?;
            self.check_context(fleet.offer().max_model_len)?;
            let mut deliver = |key, row| {
                tell_events()?;
                deliver(key, row)
            };
            let generated = fleet.generate(jobs, &stop, &mut deliver).await;
            // Requests in flight are cancelled by now, as a stopping server wants it.
            fleet.close().await;
            generated
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        let _ = tell_events();
        outcome
    }

    /// The servers to start.
    fn launches(&self) -> Result<Vec<Launch>, EvalError> {
        let config = &self.plan.config;
        if config.generator.kind == GeneratorKind::Openai {
            return Ok(Vec::new());
        }
        let model = self.plan.subject.model.clone().ok_or_else(|| {
            EvalError::invalid("there is no model to serve")
                .hint("--checkpoint-dir DIR --step N, or --model PATH")
        })?;
        // A relative name might be taken for one of a model hub.
        let model = fs::canonicalize(&model).map_err(EvalError::read(&model))?;
        let launch = |replica| Launch {
            guard: self.home.guard.clone(),
            model: model.clone(),
            name: self.plan.subject.name.clone(),
            replica,
            log: self.home.logs.join(format!("server_{replica}.log")),
        };
        Ok((0..config.server.replicas).map(launch).collect())
    }

    fn check_context(&self, max_model_len: Option<u64>) -> Result<(), EvalError> {
        let wanted = self.plan.config.sampling.max_new_tokens;
        if let Some(length) = max_model_len
            && length <= wanted
        {
            return Err(EvalError::invalid(format!(
                "the model takes {length} tokens in all, which leaves none for a prompt beside \
                 sampling.max_new_tokens = {wanted}"
            ))
            .hint("raise server.max_model_len, or lower sampling.max_new_tokens"));
        }
        Ok(())
    }
}

fn words_of(event: &FleetEvent) -> String {
    match event {
        FleetEvent::Starting {
            replica,
            command,
            log,
        } => format!(
            "starting server {replica}: {} (log: {})",
            command.join(" "),
            log.display()
        ),
        FleetEvent::Ready { replica, seconds } => {
            format!("server {replica} is ready after {seconds:.1} s")
        }
        FleetEvent::Restarting { replica, reason } => {
            format!("server {replica} died ({reason}); starting it again")
        }
    }
}
