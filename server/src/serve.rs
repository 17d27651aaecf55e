//! The listener: connections within bounds, heads within time, and a good end.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use executor::{MIB, Runner};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use judge::{CacheConfig, Judge, JudgeConfig};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpUserTimeout;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use crate::app::{App, BodyBudget, router};
use crate::dispatch::Dispatch;
use crate::fusion::Languages;
use crate::fusion::datasets::Tables;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::{ServeConfig, ServeError};

/// How long to wait after a failed accept: the process is out of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A client that takes no byte of its answer for this long is gone.
const TAKE_ANSWER_MS: u32 = 60_000;

/// What runs programs.
#[derive(Clone)]
pub struct Runners {
    /// Python.
    pub python: Arc<dyn Runner>,
    /// The commands of the other languages, which see their tools' folders too
    /// ([`ServeConfig::language_paths`]). Without it, programs of these languages are answered as if
    /// their tools were missing.
    pub others: Option<Arc<dyn Runner>>,
    /// Runs that may go on at once, over both.
    pub slots: usize,
}

/// The address a request came from.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// A server that listens but does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
}

impl ServeConfig {
    /// What a sandbox for [`Runners::others`] must show of this host.
    pub fn language_paths(&self) -> Vec<std::path::PathBuf> {
        Languages::new(&self.languages).paths()
    }
}

impl Server {
    /// Binds the address and prepares everything. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    ///
    /// The address is taken or not ours, or the token file or cache folder cannot be used.
    pub async fn bind(config: ServeConfig, runners: Runners) -> Result<Self, ServeError> {
        let token = config.token_file.as_deref().map(read_token).transpose()?;
        let judge = Judge::new(
            JudgeConfig {
                workers: runners.slots,
                cache: match &config.judge.cache_dir {
                    _ if config.judge.no_cache => CacheConfig::Off,
                    Some(folder) => CacheConfig::Folder(folder.clone()),
                    None => CacheConfig::Memory,
                },
                ..JudgeConfig::default()
            },
            runners.python.clone(),
        )
        .map_err(ServeError::Judge)?;
        let tables = match &config.datasets_dir {
            Some(folder) => Tables::read(folder)?,
            None => Tables::default(),
        };
        let queue =
            Queue::start(runners.slots, config.queue.capacity).map_err(ServeError::Thread)?;
        let python = &runners.python;
        let build = [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("isolation", python.isolation().as_str().to_owned()),
            ("backend", python.backend().to_owned()),
            ("interpreter", python.interpreter().version.clone()),
        ];
        let metrics = Arc::new(Metrics::new(&build, runners.slots));
        let listen = |source| ServeError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self {
            listener,
            address,
            app: Arc::new(App {
                languages: Languages::new(&config.languages),
                dispatch: Dispatch {
                    queue: Arc::new(queue),
                    metrics: metrics.clone(),
                },
                metrics,
                judge,
                tables,
                numpy: tokio::sync::OnceCell::new(),
                judge_calls: Arc::new(Semaphore::new(config.judge.max_calls)),
                token,
                bodies: BodyBudget::new(config.http.max_bodies_mib * MIB),
                connections: Arc::new(AtomicUsize::new(0)),
                draining: false.into(),
                runners,
                config,
            }),
        })
    }

    /// Where it listens; the port is the one the kernel chose if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether anybody who reaches the port can use the server.
    pub fn is_open_to_all(&self) -> bool {
        self.app.token.is_none() && !self.address.ip().is_loopback()
    }

    /// Answers until `stop` is ready; then takes no new connections, lets requests under way finish
    /// within the drain time, ends what is left, and returns.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let http = &self.app.config.http;
        let slots = Arc::new(Semaphore::new(http.max_connections));
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs_f64(http.head_timeout_s))
            .max_buf_size(64 * 1024)
            .keep_alive(true);
        let graceful = GracefulShutdown::new();
        let router = router(self.app.clone());
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = async {
                let slot = slots.clone().acquire_owned().await.ok()?;
                let accepted = self.listener.accept().await;
                Some((slot, accepted))
            };
            let (slot, accepted) = tokio::select! {
                () = &mut stop => break,
                Some(found) = accepted => found,
            };
            let (stream, peer) = match accepted {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            // A client that does not take its answer is given up by the kernel.
            let _ = setsockopt(&stream, TcpUserTimeout, &TAKE_ANSWER_MS);
            let router = router.clone();
            let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
                request.extensions_mut().insert(Peer(peer.ip()));
                router.clone().oneshot(request.map(Body::new))
            });
            let connection =
                graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
            let connections = self.app.connections.clone();
            connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                // Broken connections are the clients' business; dropping one ends its runs.
                let _ = connection.await;
                connections.fetch_sub(1, Ordering::Relaxed);
                drop(slot);
            });
        }
        self.app.draining.store(true, Ordering::Relaxed);
        drop(self.listener);
        let drain = Duration::from_secs_f64(self.app.config.http.drain_timeout_s);
        tracing::info!("draining");
        let drained = tokio::time::timeout(drain, graceful.shutdown())
            .await
            .is_ok();
        let queue = self.app.dispatch.queue.clone();
        queue.close();
        if drained {
            // Nobody waits for a run any more, so the few that are left are being ended.
            let _ = tokio::task::spawn_blocking(move || queue.join()).await;
        } else {
            tracing::warn!("requests were still under way after the drain time; they are ended");
        }
    }
}

fn read_token(path: &Path) -> Result<[u8; 32], ServeError> {
    let bad = |reason: String| ServeError::Token {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() {
        return Err(bad("its first line is empty".to_owned()));
    }
    Ok(Sha256::digest(token.as_bytes()).into())
}
