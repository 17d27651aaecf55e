//! `codejury serve`: the sandbox and the judge over HTTP.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use executor::{Sandbox, SandboxConfig};
use serde_json::json;
use server::{Runners, ServeConfig, Server};

use crate::args::{CellsChoice, ServeArgs};
use crate::backend;
use crate::config::describe;
use crate::exit::ExitCode;
use crate::output::{self, say};

/// Threads that read requests and write answers. Runs have threads of their own.
const ASYNC_THREADS: usize = 4;

pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    if args.print_config {
        output::print(server::EXAMPLE_CONFIG)?;
        return Ok(ExitCode::Done);
    }
    let config = args.config()?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let slots = args.slots.map_or(processors, usize::from);
    log(args);
    let sandbox = SandboxConfig {
        one_shot_cells: args.cells == CellsChoice::Once,
        slots: Some(slots),
        ..args.sandbox.config()?
    };
    let more_paths = config.language_paths();
    let python = backend::runner(&args.sandbox, sandbox.clone())?;
    say(format!("codejury: {}\n", describe(python.as_ref())));
    let runners = Runners {
        // Languages other than Python need what wasm does without.
        others: match python.backend() {
            "wasm" => None,
            _ => Some(Arc::new(Sandbox::new(SandboxConfig {
                more_paths,
                ..sandbox
            })?)),
        },
        python,
        slots,
    };
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.min(ASYNC_THREADS))
        .enable_all()
        .build()
        .context("cannot start the server's threads")?;
    runtime.block_on(async {
        let stop = stop(args.until_stdin_closes)?;
        let server = Server::bind(config, runners).await?;
        if server.is_open_to_all() {
            say(format!(
                "warning: {} can be reached from other machines and asks for no token; \
                 give it one with --token-file, or listen on 127.0.0.1\n",
                server.address()
            ));
        }
        say(format!(
            "codejury: listening on http://{}\n",
            server.address()
        ));
        if let Some(path) = &args.ready_file {
            announce(path, server.address())?;
        }
        server.run(stop).await;
        anyhow::Ok(())
    })?;
    // What still runs ends with this process: cells die with their supervisor.
    runtime.shutdown_background();
    Ok(ExitCode::Done)
}

impl ServeArgs {
    /// The configuration file with the flags over it.
    fn config(&self) -> anyhow::Result<ServeConfig> {
        let mut config = match &self.config {
            Some(path) => ServeConfig::read(path)?,
            None => ServeConfig::default(),
        };
        config.listen = self.listen.unwrap_or(config.listen);
        if let Some(file) = &self.token_file {
            config.token_file = Some(file.clone());
        }
        if let Some(network) = self.sandbox.network {
            config.run.network = network.into();
        }
        Ok(config)
    }
}

/// Ready at the first SIGTERM, SIGINT or SIGHUP, or at the end of standard input.
fn stop(at_end_of_stdin: bool) -> anyhow::Result<impl Future<Output = ()>> {
    let switch = crate::interrupt::switch()?;
    if at_end_of_stdin {
        let switch = switch.clone();
        let watch = move || {
            // Whatever comes is not for us; an error means that nobody holds the other end either.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            switch.cancel();
        };
        std::thread::Builder::new()
            .name("stdin".into())
            .spawn(watch)
            .context("cannot start a thread")?;
    }
    Ok(async move {
        let _ = tokio::task::spawn_blocking(move || switch.wait()).await;
    })
}

/// Says where the server listens, in a file that appears whole or not at all.
fn announce(path: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let ready = json!({ "url": format!("http://{address}"), "pid": std::process::id() });
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    std::fs::write(&temporary, ready.to_string())
        .and_then(|()| std::fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Ten thousand connections need as many descriptors; the soft limit is often 1,024.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where this is refused, fewer connections are accepted at once.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn log(args: &ServeArgs) {
    let filter = tracing_subscriber::EnvFilter::try_new(&args.log).unwrap_or_default();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}
