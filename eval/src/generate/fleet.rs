//! Many requests over one or several servers.
//!
//! Each request goes to the server with the least in flight. A failure that may pass is tried again
//! after a wait; before that somebody looks whether the server lives. One that we started and that
//! died is started again, and what was in flight is sent again: a dead server is never charged to
//! a sample. A watcher asks every server for its health now and then, since one that was told to
//! end leaves its requests in silence.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use super::client::{Ask, Client, Generated, Trouble};
use super::row::CompletionRecord;
use super::serve::{Launch, Server, try_out};
use super::{Job, Key};
use crate::config::{EvalConfig, GeneratorKind, Style};
use crate::error::EvalError;

/// Between looks at a server's health.
const HEALTH_EVERY: Duration = Duration::from_secs(2);
/// So many bad looks in a row mean that it is gone.
const BAD_LOOKS: u32 = 3;
/// So many refused requests, without one that was answered, mean that the mistake is ours.
const REFUSED: u32 = 8;
/// A busy server is no failure: it is asked this many times as often.
const BUSY_FACTOR: u32 = 10;
/// The longest wait between two attempts.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// Between looks whether the user wants to stop.
const STOP_POLL: Duration = Duration::from_millis(100);

/// What a fleet tells of itself.
#[derive(Clone, Debug)]
pub(crate) enum FleetEvent {
    /// A server is being started.
    Starting {
        replica: u16,
        command: Vec<String>,
        log: std::path::PathBuf,
    },
    /// It has generated its first token.
    Ready { replica: u16, seconds: f64 },
    /// It died and is started again.
    Restarting { replica: u16, reason: String },
}

/// What the servers offer.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) model: String,
    pub(crate) max_model_len: Option<u64>,
}

/// Servers that are ready to generate.
pub(crate) struct Fleet {
    shared: Arc<Shared>,
}

struct Shared {
    config: EvalConfig,
    model: String,
    max_model_len: Option<u64>,
    replicas: Vec<Replica>,
    /// Requests answered, refused, and failed in a row.
    answered: AtomicU32,
    refused: AtomicU32,
    failed_in_a_row: AtomicU32,
    restarts_left: AtomicU32,
    styles: Vec<Style>,
    tell: Box<dyn Fn(FleetEvent) + Send + Sync>,
}

struct Replica {
    number: u16,
    client: RwLock<Client>,
    in_flight: AtomicUsize,
    /// How often it was found dead; those who wait for an answer hear of it.
    deaths: watch::Sender<u64>,
    /// `None` for a server that is not ours.
    own: Option<Own>,
}

struct Own {
    launch: Launch,
    server: Mutex<Server>,
}

/// Ends everything: no answer can come any more.
struct Fatal(EvalError);

impl Fleet {
    /// Starts the servers that the configuration asks for, or looks at the one that runs, and waits
    /// until each has generated a token. `launches` are the servers to start.
    ///
    /// # Errors
    ///
    /// A server is not ready in time, or does not offer what is needed.
    pub(crate) async fn open(
        config: &EvalConfig,
        launches: Vec<Launch>,
        model: &str,
        styles: &[Style],
        stop: &(dyn Fn() -> bool + Sync),
        tell: impl Fn(FleetEvent) + Send + Sync + 'static,
    ) -> Result<Self, EvalError> {
        let (mut replicas, mut offer) = (Vec::new(), None);
        if config.generator.kind == GeneratorKind::Openai {
            let client = Client::new(&config.generator.base_url, &config.generator)?;
            offer = Some(look_at(&client, model, styles, config).await?);
            replicas.push(Replica::new(0, client, None));
        }
        // All at once: loading takes minutes, and they share nothing but the disk.
        let mut starting = Starting::default();
        for launch in launches {
            let server = launch.start(&config.server)?;
            let client = Client::new(&server.base(), &config.generator)?;
            tell(FleetEvent::Starting {
                replica: launch.replica,
                command: server.command.clone(),
                log: launch.log.clone(),
            });
            starting.servers.push((launch, server, client));
        }
        let begun = Instant::now();
        for (launch, server, client) in &mut starting.servers {
            let served = tokio::select! {
                served = server.ready(client, model, styles, config) => served?,
                () = stopped(stop) => return Err(EvalError::Interrupted),
            };
            tell(FleetEvent::Ready {
                replica: launch.replica,
                seconds: begun.elapsed().as_secs_f64(),
            });
            offer = Some(Offer {
                model: served.name,
                max_model_len: served.max_model_len,
            });
        }
        for (launch, server, client) in starting.servers.drain(..) {
            let own = Own {
                launch,
                server: Mutex::new(server),
            };
            replicas.push(Replica::new(replicas.len() as u16, client, Some(own)));
        }
        let offer = offer.ok_or_else(|| EvalError::invalid("there is no server to ask"))?;
        Ok(Self {
            shared: Arc::new(Shared {
                config: config.clone(),
                model: offer.model,
                max_model_len: offer.max_model_len,
                replicas,
                answered: AtomicU32::new(0),
                refused: AtomicU32::new(0),
                failed_in_a_row: AtomicU32::new(0),
                restarts_left: AtomicU32::new(config.server.restarts),
                styles: styles.to_vec(),
                tell: Box::new(tell),
            }),
        })
    }

    /// What the servers offer.
    pub(crate) fn offer(&self) -> Offer {
        Offer {
            model: self.shared.model.clone(),
            max_model_len: self.shared.max_model_len,
        }
    }

    /// Generates every job; `deliver` gets each row as it comes. Ends early when `stop` says so;
    /// requests in flight are then cancelled and leave no row.
    ///
    /// # Errors
    ///
    /// `deliver` fails, or no server can answer any more.
    pub(crate) async fn generate(
        &self,
        jobs: impl Iterator<Item = Job>,
        stop: &(dyn Fn() -> bool + Sync),
        deliver: &mut dyn FnMut(Key, CompletionRecord) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let shared = &self.shared;
        let limit = shared.config.generator.concurrency * shared.replicas.len();
        let mut watchers = JoinSet::new();
        for index in 0..shared.replicas.len() {
            let shared = Arc::clone(shared);
            watchers.spawn(async move { shared.watch(index).await });
        }
        let mut tasks = JoinSet::new();
        let mut jobs = jobs.fuse();
        loop {
            while tasks.len() < limit && !stop() {
                let Some(job) = jobs.next() else { break };
                let shared = Arc::clone(shared);
                tasks.spawn(async move {
                    let row = shared.answer(&job).await;
                    (job.key, row)
                });
            }
            tokio::select! {
                done = tasks.join_next() => match done {
                    None => return Ok(()),
                    Some(Ok((key, Ok(row)))) => deliver(key, row)?,
                    Some(Ok((_, Err(Fatal(error))))) => return Err(error),
                    Some(Err(error)) => {
                        return Err(EvalError::failed(format!("a request ended in a panic: {error}")));
                    }
                },
                () = stopped(stop) => return Ok(()),
            }
        }
    }

    /// Ends the servers that we started, in the right order: nothing is in flight any more.
    pub(crate) async fn close(self) {
        let own = || {
            self.shared
                .replicas
                .iter()
                .filter_map(|one| one.own.as_ref())
        };
        for own in own() {
            own.server.lock().await.let_go();
        }
        for own in own() {
            own.server.lock().await.stop();
        }
    }
}

/// Servers that are not ready yet. When one of them fails, all end at the same time.
#[derive(Default)]
struct Starting {
    servers: Vec<(Launch, Server, Client)>,
}

impl Drop for Starting {
    fn drop(&mut self) {
        for (_, server, _) in &mut self.servers {
            server.let_go();
        }
    }
}

/// Waits until the user wants to stop.
async fn stopped(stop: &(dyn Fn() -> bool + Sync)) {
    while !stop() {
        tokio::time::sleep(STOP_POLL).await;
    }
}

/// Checks a server that runs already.
async fn look_at(
    client: &Client,
    model: &str,
    styles: &[Style],
    config: &EvalConfig,
) -> Result<Offer, EvalError> {
    let base = client.base().to_owned();
    let fail = |what: &str, trouble: &Trouble| {
        EvalError::failed(format!("{base}: {what}: {}", trouble.detail()))
    };
    let mut delay = Duration::from_millis(config.generator.retry_delay_ms);
    let mut attempt = 0;
    let models = loop {
        match client.models().await {
            Ok(models) => break models,
            Err(trouble @ Trouble::Refused(_)) => {
                return Err(fail("it lists no models", &trouble).hint(
                    "generator.base_url ends in /v1; a key comes from generator.api_key_env",
                ));
            }
            Err(trouble) if attempt == config.generator.retries => {
                return Err(fail("nobody answers", &trouble).hint("is the server running?"));
            }
            Err(_) => tokio::time::sleep(delay).await,
        }
        attempt += 1;
        delay = (delay * 2).min(MAX_DELAY);
    };
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let known = names.join(", ");
    let served = match model {
        // Every name a vLLM server lists is the same model; elsewhere it must be named.
        "" if names.len() == 1 => models.first(),
        "" => None,
        name => models.iter().find(|served| served.name == name),
    };
    let served = served.cloned().ok_or_else(|| {
        let what = match model {
            "" => format!("{base} offers several models"),
            name => format!("{base} does not offer {name:?}"),
        };
        EvalError::invalid(what).hint(format!("--model-name takes one of: {known}"))
    })?;
    for &style in styles {
        if let Err(trouble) = try_out(client, &served.name, style, &config.sampling).await {
            let error = fail("the first generation failed", &trouble);
            return Err(match trouble {
                Trouble::Refused(_) => {
                    error.hint("a chat prompt needs a model with a chat template")
                }
                _ => error,
            });
        }
    }
    Ok(Offer {
        model: served.name,
        max_model_len: served.max_model_len,
    })
}

impl Replica {
    fn new(number: u16, client: Client, own: Option<Own>) -> Self {
        Self {
            number,
            client: RwLock::new(client),
            in_flight: AtomicUsize::new(0),
            deaths: watch::Sender::new(0),
            own,
        }
    }

    fn client(&self) -> Client {
        self.client
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Counts a request in flight while it lives.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// The row for one job, however long it takes.
    async fn answer(&self, job: &Job) -> Result<CompletionRecord, Fatal> {
        let Key { sample, .. } = job.key;
        let sampling = &self.config.sampling;
        let retries = self.config.generator.retries;
        let base = Duration::from_millis(self.config.generator.retry_delay_ms);
        let id = format!("codejury-{}-{sample}", job.problem_id.replace('/', "-"));
        let id: String = id.chars().filter(|c| c.is_ascii_graphic()).collect();
        let row = CompletionRecord {
            seed: (sampling.temperature > 0.0)
                .then(|| sampling.seed.wrapping_add(u64::from(sample)) & (i64::MAX as u64)),
            ..CompletionRecord::new(&job.problem_id, sample)
        };
        let (mut broken, mut busy) = (0, 0);
        loop {
            let replica = self
                .replicas
                .iter()
                .min_by_key(|replica| replica.in_flight.load(Ordering::Relaxed))
                .expect("a fleet has a server");
            let mut deaths = replica.deaths.subscribe();
            let before = *deaths.borrow_and_update();
            let trouble = {
                let _in_flight = InFlight::new(&replica.in_flight);
                let client = replica.client();
                tokio::select! {
                    answer = self.ask(&client, job, &row, &id) => match answer {
                        Ok((max_tokens, generated)) => {
                            self.answered.fetch_add(1, Ordering::Relaxed);
                            self.failed_in_a_row.store(0, Ordering::Relaxed);
                            let row = CompletionRecord { max_tokens: Some(max_tokens), ..row };
                            return Ok(row.generated(generated));
                        }
                        Err(trouble) => trouble,
                    },
                    _ = deaths.changed() => Trouble::Broken("the server is gone".into()),
                }
            };
            let attempt = match &trouble {
                Trouble::TooLong(_) => return Ok(row.failed(&trouble)),
                Trouble::Refused(detail) => {
                    let refused = 1 + self.refused.fetch_add(1, Ordering::Relaxed);
                    if refused >= REFUSED && self.answered.load(Ordering::Relaxed) == 0 {
                        return Err(Fatal(
                            EvalError::failed(format!(
                                "the server refuses every request: {detail}"
                            ))
                            .hint("what the server says names the setting that it does not take"),
                        ));
                    }
                    return Ok(row.failed(&trouble));
                }
                Trouble::Busy(_) => {
                    busy += 1;
                    if busy > retries * BUSY_FACTOR {
                        return Ok(row.failed(&trouble));
                    }
                    busy
                }
                Trouble::Broken(detail) => {
                    if let Some(own) = &replica.own
                        && self.revive(replica, own, before, detail).await?
                    {
                        // A death of the server is not the sample's failure.
                        continue;
                    }
                    broken += 1;
                    if broken > retries {
                        self.give_up(detail)?;
                        return Ok(row.failed(&trouble));
                    }
                    broken
                }
            };
            tokio::time::sleep(delay(base, attempt, &id)).await;
        }
    }

    /// One request; first the exact count of its prompt, where the server counts.
    async fn ask(
        &self,
        client: &Client,
        job: &Job,
        row: &CompletionRecord,
        id: &str,
    ) -> Result<(u64, Generated), Trouble> {
        let sampling = &self.config.sampling;
        let mut max_tokens = sampling.max_new_tokens;
        let counted = client
            .count_tokens(&self.model, job.style, &job.prompt)
            .await?;
        if let Some((count, limit)) = counted
            && let Some(limit) = limit.or(self.max_model_len)
        {
            if count >= limit {
                let text = format!("the prompt has {count} tokens, the model takes {limit}");
                return Err(Trouble::TooLong(text));
            }
            // Servers lower it without a word; said here, so that the row holds it.
            max_tokens = max_tokens.min(limit - count);
        }
        let ask = Ask {
            model: &self.model,
            style: job.style,
            prompt: &job.prompt,
            sampling,
            max_tokens,
            seed: row.seed,
            stop: &job.stop,
            max_stop_strings: self.config.generator.max_stop_strings,
            request_id: id,
        };
        let generated = client.generate(&ask).await?;
        // A server that does not count may have lowered it all the same.
        if generated.finish_reason == "length"
            && let Some(tokens) = generated.gen_tokens
        {
            max_tokens = max_tokens.min(tokens);
        }
        Ok((max_tokens, generated))
    }

    /// Counts a sample without an answer; ends everything when nothing is answered any more.
    fn give_up(&self, detail: &str) -> Result<(), Fatal> {
        let failed = 1 + self.failed_in_a_row.fetch_add(1, Ordering::Relaxed);
        let limit = (self.config.generator.concurrency * self.replicas.len()).max(8);
        if (failed as usize) < limit {
            return Ok(());
        }
        Err(Fatal(
            EvalError::failed(format!(
                "the server is lost: {failed} requests in a row failed, the last with: {detail}"
            ))
            .hint("what was generated is kept; the same command goes on from there"),
        ))
    }

    /// Looks after a request failed whether our server is dead, and starts it again if it is. Says
    /// whether it was.
    async fn revive(
        &self,
        replica: &Replica,
        own: &Own,
        deaths_before: u64,
        reason: &str,
    ) -> Result<bool, Fatal> {
        let mut server = own.server.lock().await;
        let deaths = *replica.deaths.borrow();
        if deaths != deaths_before && server.ended().is_none() {
            if replica.client().healthy().await == Ok(Some(true)) {
                // Somebody else has started it again while we waited.
                return Ok(true);
            }
        } else if deaths == deaths_before && !is_dead(&mut server, &replica.client()).await {
            return Ok(false);
        }
        let left = self
            .restarts_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        if left.is_err() {
            let what = format!(
                "the model server died {} times",
                self.config.server.restarts + 1
            );
            return Err(Fatal(server.failure(&what)));
        }
        replica.deaths.send_modify(|deaths| *deaths += 1);
        (self.tell)(FleetEvent::Restarting {
            replica: replica.number,
            reason: reason.to_owned(),
        });
        server.stop();
        let restarted = async {
            *server = own.launch.start(&self.config.server)?;
            let client = Client::new(&server.base(), &self.config.generator)?;
            let begun = Instant::now();
            server
                .ready(&client, &self.model, &self.styles, &self.config)
                .await?;
            *replica
                .client
                .write()
                .unwrap_or_else(PoisonError::into_inner) = client;
            (self.tell)(FleetEvent::Ready {
                replica: replica.number,
                seconds: begun.elapsed().as_secs_f64(),
            });
            Ok(())
        };
        restarted.await.map(|()| true).map_err(Fatal)
    }

    /// Tells those who wait for answers of a server when it is gone.
    async fn watch(&self, index: usize) {
        let replica = &self.replicas[index];
        let mut bad = 0;
        loop {
            tokio::time::sleep(HEALTH_EVERY).await;
            if replica.in_flight.load(Ordering::Relaxed) == 0 {
                bad = 0;
                continue;
            }
            // While it is being started again, nobody waits for its answers.
            if let Some(own) = &replica.own
                && own.server.try_lock().is_err()
            {
                bad = 0;
                continue;
            }
            match replica.client().healthy().await {
                Ok(Some(true) | None) => bad = 0,
                Ok(Some(false)) | Err(_) => bad += 1,
            }
            if bad >= BAD_LOOKS {
                bad = 0;
                replica.deaths.send_modify(|deaths| *deaths += 1);
            }
        }
    }
}

/// Whether a server of ours has ended, or will not answer again. A dying one takes a moment.
async fn is_dead(server: &mut Server, client: &Client) -> bool {
    for _ in 0..10 {
        if server.ended().is_some() {
            return true;
        }
        match client.healthy().await {
            Ok(Some(true) | None) => return false,
            // 503: the engine is dead, and its process will be soon.
            Ok(Some(false)) => return true,
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
    true
}

/// Twice as long each time, with jitter that depends on the request, so that those who failed
/// together do not come back together.
fn delay(base: Duration, attempt: u32, id: &str) -> Duration {
    let doubled = base.saturating_mul(1 << (attempt - 1).min(10));
    let hash = id.bytes().fold(u64::from(attempt), |hash, byte| {
        hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)
    });
    let jitter = 0.5 + (hash % 1000) as f64 / 1000.0;
    doubled.mul_f64(jitter).min(MAX_DELAY)
}
