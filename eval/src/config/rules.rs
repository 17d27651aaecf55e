//! Values that cannot be, alone or together.

use super::{EvalConfig, GeneratorKind, nearest};

/// Metrics that choose a checkpoint: the larger, the better.
const CHOOSING: [&str; 8] = [
    "exec_success_rate",
    "accepted_at_1",
    "pass_ratio_mean",
    "pass@1",
    "pass@5",
    "pass@10",
    "pass@50",
    "pass@100",
];

impl EvalConfig {
    /// What cannot be, with the key's name.
    pub(super) fn check(&self) -> Result<(), String> {
        let sampling = &self.sampling;
        let seconds = |value: f64| (0.0..=86_400.0).contains(&value);
        let rules = [
            (
                (0.0..=1.0).contains(&self.max_api_error_rate),
                "max_api_error_rate must be between 0 and 1",
            ),
            (
                (0.0..=2.0).contains(&sampling.temperature),
                "sampling.temperature must be between 0 and 2",
            ),
            (
                sampling.top_p > 0.0 && sampling.top_p <= 1.0,
                "sampling.top_p must be above 0 and at most 1",
            ),
            (
                sampling.max_new_tokens > 0,
                "sampling.max_new_tokens must be at least 1",
            ),
            (
                (1..=10_000).contains(&sampling.samples),
                "sampling.samples must be between 1 and 10000",
            ),
            (
                sampling.samples == 1 || sampling.temperature > 0.0,
                "sampling.samples above 1 needs sampling.temperature above 0: at 0 all samples are the same",
            ),
            (
                self.generator.concurrency > 0,
                "generator.concurrency must be at least 1",
            ),
            (
                self.generator.silence_timeout_s > 0.0 && self.generator.connect_timeout_s > 0.0,
                "generator timeouts must be above 0",
            ),
            (
                !self.server.command.is_empty(),
                "server.command must not be empty",
            ),
            (
                self.server.replicas > 0,
                "server.replicas must be at least 1",
            ),
            (
                self.server.port == 0
                    || self
                        .server
                        .port
                        .checked_add(self.server.replicas.saturating_sub(1))
                        .is_some(),
                "server.port leaves too few ports above it for server.replicas",
            ),
            (
                self.generator.kind != GeneratorKind::Vllm
                    || sampling.max_new_tokens < self.server.max_model_len,
                "sampling.max_new_tokens must be below server.max_model_len, which holds the prompt too",
            ),
            (
                self.judging.run_timeout_s >= 0.001 && self.judging.run_timeout_s <= 86_400.0,
                "judging.run_timeout_s must be between 0.001 and 86400 (a day)",
            ),
            (
                (1..=1 << 20).contains(&self.judging.memory_limit_mb),
                "judging.memory_limit_mb must be between 1 and 1048576",
            ),
            (
                (1_000_000..=1 << 60).contains(&self.judging.wasm_fuel_per_second),
                "judging.wasm_fuel_per_second must be between 1000000 and 1152921504606846976",
            ),
            (
                seconds(self.watch.poll_s) && self.watch.poll_s > 0.0,
                "watch.poll_s must be above 0, and at most a day",
            ),
            (
                seconds(self.generator.connect_timeout_s)
                    && seconds(self.generator.silence_timeout_s)
                    && seconds(self.server.ready_timeout_s)
                    && seconds(self.server.stop_grace_s),
                "generator and server timeouts must be between 0 and 86400 (a day)",
            ),
        ];
        if let Some((_, rule)) = rules.into_iter().find(|(holds, _)| !holds) {
            return Err(rule.to_owned());
        }
        // A name that nothing has would choose nothing, without a word.
        for (key, slug) in [
            ("selection.dataset", &self.selection.dataset),
            ("compare.dataset", &self.compare.dataset),
            ("compare.humaneval", &self.compare.humaneval),
            ("compare.mbpp", &self.compare.mbpp),
        ] {
            if !self.datasets.contains_key(slug) {
                let near = nearest(slug, self.datasets.keys().map(String::as_str));
                return Err(format!(
                    "{key} names {slug:?}, for which there is no [datasets.{slug}]{near}"
                ));
            }
        }
        for (key, metric) in [
            ("selection.metric", &self.selection.metric),
            ("selection.tie_break", &self.selection.tie_break),
        ] {
            if !CHOOSING.contains(&metric.as_str()) {
                let near = nearest(metric, CHOOSING.into_iter());
                return Err(format!(
                    "{key}: {metric:?} cannot choose a checkpoint; known: {}{near}",
                    CHOOSING.join(", ")
                ));
            }
        }
        for (number, tier) in &self.tiers {
            for slug in &tier.datasets {
                if !self.datasets.contains_key(slug) {
                    let near = nearest(slug, self.datasets.keys().map(String::as_str));
                    return Err(format!(
                        "tiers.{number}.datasets names {slug:?}, for which there is no [datasets.{slug}]{near}"
                    ));
                }
            }
        }
        for (slug, dataset) in &self.datasets {
            dataset
                .spec(slug)
                .and(dataset.extract_rule())
                .map_err(|reason| format!("datasets.{slug}.{reason}"))?;
            dataset
                .comparison()
                .map_err(|reason| format!("datasets.{slug}.compare: {reason}"))?;
            dataset
                .limits
                .check()
                .map_err(|(name, reason)| format!("datasets.{slug}.limits.{name}: {reason}"))?;
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if slug.is_empty() || !slug.chars().all(plain) {
                return Err(format!(
                    "datasets.{slug}: a name has lower-case letters, digits and underscores only"
                ));
            }
        }
        Ok(())
    }
}
