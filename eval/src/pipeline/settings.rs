//! What results depend on, and how an evaluation's settings judge.

use std::thread;

use executor::Runner;
use judge::{CacheConfig, JudgeConfig, LimitOverrides, Overrides};
use serde_json::{Map, Value, json};

use super::Plan;
use super::prepare::Prepared;
use crate::config::{EvalConfig, GeneratorKind, LimitsOf};

/// Everything that the results depend on.
pub(super) fn settings_of(
    plan: &Plan,
    prepared: &[Prepared],
    runner: &dyn Runner,
) -> Map<String, Value> {
    let config = &plan.config;
    let mut datasets = Map::new();
    for run in prepared {
        let about = json!({
            "sha256": run.store.sha256,
            "problems": run.store.len(),
            "prompt_sha256": run.prompt_sha256,
            "style": run.config.style,
            "stop": run.config.stop,
            "extract": run.rule,
            "compare": run.config.compare,
            "limits": run.config.limits,
            "tests": run.config.tests,
        });
        datasets.insert(run.slug.clone(), about);
    }
    let generator = match config.generator.kind {
        GeneratorKind::Vllm => json!({
            "kind": "vllm",
            "command": config.server.command,
            "max_model_len": config.server.max_model_len,
        }),
        GeneratorKind::Openai => json!({"kind": "openai"}),
        GeneratorKind::Replay => json!({"kind": "replay"}),
        GeneratorKind::Reference => json!({"kind": "reference"}),
    };
    let sampling = match config.generator.kind {
        GeneratorKind::Vllm | GeneratorKind::Openai => json!(config.sampling),
        // Whoever recorded them has chosen it.
        _ => Value::Null,
    };
    let judging = &config.judging;
    let interpreter = runner.interpreter();
    let settings = json!({
        "codejury": env!("CARGO_PKG_VERSION"),
        "model": plan.subject.name,
        "model_fingerprint": plan.subject.fingerprint,
        "datasets": datasets,
        "generator": generator,
        "sampling": sampling,
        "run_timeout_s": judging.run_timeout_s,
        "memory_limit_mb": judging.memory_limit_mb,
        "aggregate": judging.aggregate,
        "max_timeouts": judging.max_timeouts,
        "integrity": judging.integrity,
        "limits_of": judging.limits,
        "isolation": runner.isolation(),
        "backend": runner.backend(),
        "python": interpreter.version,
        "python_fingerprint": interpreter.fingerprint,
    });
    match settings {
        Value::Object(mut settings) => {
            if let Some(fuel) = runner.fuel_per_second() {
                settings.insert("fuel_per_second".into(), fuel.into());
            }
            settings
        }
        _ => unreachable!("written as an object above"),
    }
}

/// What may differ when an evaluation goes on elsewhere.
pub(super) fn environment(plan: &Plan) -> Map<String, Value> {
    let host = nix::unistd::gethostname().ok();
    let uname = nix::sys::utsname::uname().ok();
    let kernel = uname.map(|uname| uname.release().to_string_lossy().into_owned());
    let environment = json!({
        "host": host.map(|name| name.to_string_lossy().into_owned()),
        "kernel": kernel,
        "cores": thread::available_parallelism().map(usize::from).ok(),
        "workers": plan.workers,
        "model_path": plan.subject.model_path,
        "config": plan.config,
    });
    match environment {
        Value::Object(environment) => environment,
        _ => unreachable!("written as an object above"),
    }
}

impl EvalConfig {
    /// How submissions are judged.
    pub(crate) fn judge_config(&self, workers: usize, network: executor::Network) -> JudgeConfig {
        let judging = &self.judging;
        // A row's own limits win over what everybody has anyway, not over what was asked for.
        let differs = |asked: u64, built_in: u64| (asked != built_in).then_some(asked);
        let built_in = executor::Limits::default();
        let limits = LimitOverrides {
            wall_time_ms: differs(
                (judging.run_timeout_s * 1000.0).round() as u64,
                built_in.wall_time.as_millis() as u64,
            ),
            memory_bytes: differs(judging.memory_limit_mb << 20, built_in.memory_bytes),
            ..LimitOverrides::default()
        };
        let datasets = self.datasets.iter().map(|(slug, dataset)| {
            let overrides = Overrides {
                compare: dataset.comparison().expect("checked when loaded"),
                limits: dataset.limits,
            };
            (slug.clone(), overrides)
        });
        JudgeConfig {
            workers,
            flags: Overrides {
                compare: None,
                limits,
            },
            datasets: datasets.collect(),
            source_limits: judging.limits == LimitsOf::Source,
            aggregate: judging.aggregate,
            max_timeouts: (judging.max_timeouts > 0).then_some(judging.max_timeouts),
            integrity: judging.integrity,
            network,
            cache: match judging.cache.as_os_str().is_empty() {
                true => CacheConfig::Memory,
                false => CacheConfig::Folder(judging.cache.clone()),
            },
            ..JudgeConfig::default()
        }
    }
}
