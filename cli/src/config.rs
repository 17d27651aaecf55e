//! What the words mean together: flags become the values that the libraries take, or an error that
//! says which flags contradict each other or ask for what this build does not have.

use std::time::Duration;

use executor::{IsolationRequest, Network, PathRequest, Runner, SandboxConfig};
use judge::{Aggregate, CacheConfig, IntegrityRequest, JudgeConfig, LimitOverrides, Overrides};

use crate::args::{
    AggregateChoice, BackendChoice, CellsChoice, IntegrityChoice, IsolationChoice, JudgingArgs,
    LimitArgs, LimitsChoice, NetworkChoice, PathChoice, SandboxArgs, WasmModeChoice,
};
use crate::exit::Failure;

impl SandboxArgs {
    /// The sandbox asked for, with one slot for each processor.
    ///
    /// # Errors
    ///
    /// Flags contradict each other.
    pub(crate) fn config(&self) -> Result<SandboxConfig, Failure> {
        use BackendChoice as Backend;
        use IsolationChoice as Level;
        let isolation = match (self.backend, self.isolation) {
            (Some(Backend::Native), Some(Level::Wasm)) => {
                return Err(contradiction("--backend native", "--isolation wasm"));
            }
            (Some(Backend::Auto), Some(Level::Wasm)) => {
                return Err(contradiction("--backend auto", "--isolation wasm"));
            }
            (Some(Backend::Wasm), Some(Level::Namespaces)) => {
                return Err(contradiction("--backend wasm", "--isolation namespaces"));
            }
            (Some(Backend::Wasm), Some(Level::Restricted)) => {
                return Err(contradiction("--backend wasm", "--isolation restricted"));
            }
            (_, None | Some(Level::Namespaces | Level::Wasm)) => IsolationRequest::Namespaces,
            (_, Some(Level::Restricted)) => IsolationRequest::Restricted,
            (_, Some(Level::BestAvailable)) => IsolationRequest::BestAvailable,
        };
        if self.backend() == Backend::Wasm {
            if self.python.is_some() {
                return Err(contradiction("--backend wasm", "--python"));
            }
            if self.path != PathChoice::Auto {
                return Err(contradiction("--backend wasm", "--path"));
            }
            if self.network() != Network::None {
                return Err(contradiction("--backend wasm", "--network loopback"));
            }
        }
        if self.backend() == Backend::Native
            && !self.may_be_wasm()
            && self.wasm_fuel_per_second.is_some()
        {
            return Err(contradiction("--backend native", "--wasm-fuel-per-second"));
        }
        if self.wasm_mode == WasmModeChoice::Plain && self.wasm_fuel_per_second.is_some() {
            return Err(contradiction("--wasm-mode plain", "--wasm-fuel-per-second"));
        }
        if self.path == PathChoice::Warm && isolation == IsolationRequest::Restricted {
            return Err(contradiction("--path warm", "--isolation restricted"));
        }
        Ok(SandboxConfig {
            python: self.python.clone(),
            isolation,
            path: match self.path {
                PathChoice::Auto => PathRequest::Auto,
                PathChoice::Warm => PathRequest::Warm,
                PathChoice::Cold => PathRequest::Cold,
            },
            ..SandboxConfig::default()
        })
    }

    /// What runs programs; `--isolation wasm` says it too.
    pub(crate) fn backend(&self) -> BackendChoice {
        match (self.backend, self.isolation) {
            (None, Some(IsolationChoice::Wasm)) => BackendChoice::Wasm,
            (named, _) => named.unwrap_or(BackendChoice::Native),
        }
    }

    /// Whether `--isolation best-available` may come to the wasm backend: nothing is asked for that
    /// only the native one has.
    pub(crate) fn may_be_wasm(&self) -> bool {
        self.backend.is_none()
            && self.isolation == Some(IsolationChoice::BestAvailable)
            && self.python.is_none()
            && self.path == PathChoice::Auto
            && self.network() == Network::None
    }

    pub(crate) fn network(&self) -> Network {
        self.network.unwrap_or_default().into()
    }
}

impl From<NetworkChoice> for Network {
    fn from(choice: NetworkChoice) -> Self {
        match choice {
            NetworkChoice::None => Self::None,
            NetworkChoice::Loopback => Self::Loopback,
        }
    }
}

fn contradiction(one: &str, other: &str) -> Failure {
    Failure::bad_input(format!("{one} and {other} contradict each other"))
}

/// What programs run in, for people.
pub(crate) fn describe(runner: &dyn Runner) -> String {
    let interpreter = runner.interpreter();
    format!(
        "{}, {}, {} ({})",
        runner.isolation().as_str(),
        runner.backend(),
        interpreter.version,
        interpreter.executable.display()
    )
}

impl JudgingArgs {
    /// The sandbox asked for, with as many slots as workers.
    ///
    /// # Errors
    ///
    /// Those of [`SandboxArgs::config`].
    pub(crate) fn sandbox_config(&self) -> Result<SandboxConfig, Failure> {
        Ok(SandboxConfig {
            one_shot_cells: self.cells == CellsChoice::Once,
            slots: self.workers.map(usize::from),
            ..self.sandbox.config()?
        })
    }

    /// How submissions are judged.
    pub(crate) fn judge_config(&self) -> JudgeConfig {
        let default = JudgeConfig::default();
        JudgeConfig {
            workers: self.workers.map_or(default.workers, usize::from),
            flags: Overrides {
                compare: self.compare,
                limits: self.limit.overrides(),
            },
            source_limits: self.limits == LimitsChoice::Source,
            aggregate: match self.aggregate {
                AggregateChoice::First => Aggregate::First,
                AggregateChoice::Worst => Aggregate::Worst,
            },
            max_timeouts: (self.max_timeouts > 0).then_some(self.max_timeouts),
            integrity: match self.integrity {
                IntegrityChoice::Auto => IntegrityRequest::Auto,
                IntegrityChoice::Isolated => IntegrityRequest::Isolated,
                IntegrityChoice::Shared => IntegrityRequest::Shared,
            },
            network: self.sandbox.network(),
            cache: match &self.cache {
                _ if self.no_cache => CacheConfig::Off,
                Some(folder) => CacheConfig::Folder(folder.clone()),
                None => CacheConfig::Memory,
            },
            ..default
        }
    }
}

impl LimitArgs {
    /// The limits that were typed; the others are left to rows and defaults.
    pub(crate) fn overrides(&self) -> LimitOverrides {
        let milliseconds = |time: Duration| time.as_millis() as u64;
        LimitOverrides {
            wall_time_ms: self.wall_time.map(milliseconds),
            cpu_time_ms: self.cpu_time.map(milliseconds),
            memory_bytes: self.memory,
            stdout_bytes: self.stdout,
            stderr_bytes: self.stderr,
            tasks: self.tasks,
            open_files: self.open_files,
            file_size_bytes: self.file_size,
            scratch_bytes: self.scratch,
            scratch_inodes: self.scratch_inodes,
        }
    }
}
