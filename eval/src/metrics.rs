//! From verdicts to numbers (SEMANTICS section 6).
//!
//! [`Tally`] takes verdicts in any order and keeps a few numbers of each. The summary is computed
//! over problems sorted by id and samples sorted by number, so the order of arrival cannot change
//! a single bit of it.

use std::collections::BTreeMap;
use std::time::Duration;

use judge::{ErrorType, Verdict};
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::completions::Generation;
use crate::stats::{Bootstrap, mean, pass_at_k, quantile, wilson95};

/// Whether every executed test case of a program printed nothing but white space. `None` for
/// problems that are not about output.
fn printed_nothing(verdict: &Verdict) -> Option<bool> {
    matches!(verdict.kind.as_str(), "stdio" | "checker").then(|| {
        verdict
            .evidence
            .as_ref()
            .is_some_and(|evidence| evidence.no_output)
    })
}

/// How a dataset's numbers are computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricSettings {
    /// The k of pass@k. One that is larger than the number of samples of some problem is reported
    /// as null, with a note.
    pub ks: Vec<u32>,
    /// For the intervals that are bootstrapped.
    pub bootstrap: Bootstrap,
}

impl Default for MetricSettings {
    fn default() -> Self {
        Self {
            ks: vec![1],
            bootstrap: Bootstrap::default(),
        }
    }
}

/// Collects verdicts of one dataset.
#[derive(Clone, Debug)]
pub struct Tally {
    dataset: String,
    problems: BTreeMap<String, BTreeMap<u32, Sample>>,
}

/// What is kept of one verdict.
#[derive(Clone, Copy, Debug)]
struct Sample {
    error_type: ErrorType,
    accepted: bool,
    pass_ratio: Option<f64>,
    judge_time: f64,
    printed_nothing: Option<bool>,
    tokens: Option<u64>,
    truncated: Option<bool>,
    /// An api_error that says something about the prompt, not about us.
    context_length: bool,
}

impl Sample {
    fn judged(&self) -> bool {
        self.error_type != ErrorType::ApiError
    }
}

/// The numbers of one dataset, as `summary.json` holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetSummary {
    /// Problems.
    pub n: u64,
    /// Problems with at least one sample that has a verdict.
    pub n_judged: u64,
    /// Samples of all problems together.
    pub n_samples: u64,
    /// Every metric by its name; null where it is not known.
    #[serde(flatten)]
    pub metrics: BTreeMap<String, Option<f64>>,
    /// 95 % intervals of the rates, pass@k and pass_ratio_mean.
    pub ci95: BTreeMap<String, Option<[f64; 2]>>,
    /// How many samples have each error_type.
    pub error_distribution: BTreeMap<String, u64>,
    /// Seconds from the first to the last verdict of this session; null if unknown.
    pub wall_clock_time: Option<f64>,
    /// How the bootstrapped intervals were made.
    pub bootstrap: Bootstrap,
    /// What a reader should know, for example why a pass@k is null.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl DatasetSummary {
    /// A metric's value; `None` if it is unknown or has no such name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.get(name).copied().flatten()
    }
}

/// The session in which verdicts were made, for `throughput`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Session {
    /// How long it took.
    pub wall_clock: Duration,
    /// How many problems were finished in it; those of an earlier session are not counted.
    pub problems: u64,
}

impl Tally {
    /// Nothing collected yet.
    pub fn new(dataset: impl Into<String>) -> Self {
        Self {
            dataset: dataset.into(),
            problems: BTreeMap::new(),
        }
    }

    /// Adds one verdict.
    ///
    /// # Errors
    ///
    /// There is one for this problem and sample already.
    pub fn add(&mut self, verdict: &Verdict, generation: Generation) -> Result<(), EvalError> {
        let sample = Sample {
            error_type: verdict.error_type,
            accepted: verdict.accepted,
            pass_ratio: verdict.pass_ratio,
            judge_time: verdict.judge_time,
            printed_nothing: printed_nothing(verdict),
            tokens: generation.tokens,
            truncated: generation.truncated,
            context_length: verdict.error_subtype.as_deref() == Some("context_length"),
        };
        let samples = self.problems.entry(verdict.problem_id.clone()).or_default();
        match samples.insert(verdict.sample, sample) {
            None => Ok(()),
            Some(_) => Err(EvalError::DuplicateVerdict {
                dataset: self.dataset.clone(),
                id: verdict.problem_id.clone(),
                sample: verdict.sample,
            }),
        }
    }

    /// How many samples have each error_type so far, for progress lines.
    pub fn distribution(&self) -> BTreeMap<&'static str, u64> {
        let mut counts: BTreeMap<_, _> = ErrorType::ALL
            .into_iter()
            .map(|kind| (kind.as_str(), 0))
            .collect();
        for sample in self.samples() {
            *counts.entry(sample.error_type.as_str()).or_default() += 1;
        }
        counts
    }

    /// The share of samples that failed for a reason of ours, which `max_api_error_rate` bounds.
    /// A prompt that is longer than the model allows (`context_length`) is not such a reason.
    pub fn api_error_rate(&self) -> f64 {
        let ours = self
            .samples()
            .filter(|sample| !sample.judged() && !sample.context_length);
        let n = self.samples().count();
        if n == 0 {
            0.0
        } else {
            ours.count() as f64 / n as f64
        }
    }

    /// The error type of one sample.
    pub fn error_type(&self, problem_id: &str, sample: u32) -> Option<ErrorType> {
        let samples = self.problems.get(problem_id)?;
        samples.get(&sample).map(|sample| sample.error_type)
    }

    /// The fewest samples that a problem has; 0 without problems.
    pub fn fewest_samples(&self) -> u32 {
        let counts = self.problems.values().map(|samples| samples.len() as u32);
        counts.min().unwrap_or(0)
    }

    fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.problems.values().flat_map(BTreeMap::values)
    }

    /// The numbers.
    pub fn summary(&self, settings: &MetricSettings, session: Option<Session>) -> DatasetSummary {
        let mut numbers = Numbers::new(self, settings.bootstrap);
        let is = |kind: ErrorType| move |s: &Sample| Some(s.error_type == kind);
        numbers.rate("exec_success_rate", |s| {
            Some(matches!(
                s.error_type,
                ErrorType::Success | ErrorType::WrongAnswer
            ))
        });
        numbers.rate("accepted_at_1", |s| Some(s.accepted));
        numbers.rate("syntax_error_rate", is(ErrorType::SyntaxError));
        numbers.rate("runtime_error_rate", is(ErrorType::RuntimeError));
        numbers.rate("timeout_rate", is(ErrorType::Timeout));
        numbers.rate("wrong_answer_rate", is(ErrorType::WrongAnswer));
        numbers.rate("truncation_rate", |s| s.truncated);
        numbers.rate("no_output_rate", |s| s.printed_nothing);
        numbers.share("api_error_rate", |s| Some(!s.judged()), |_| true);
        numbers.pass_ratios();
        numbers.average("avg_gen_tokens", |s| s.tokens.map(|tokens| tokens as f64));
        numbers.average("avg_judge_time", |s| Some(s.judge_time));
        let throughput = session.and_then(|session| {
            let seconds = session.wall_clock.as_secs_f64();
            (seconds > 0.0).then(|| session.problems as f64 / seconds)
        });
        numbers.put("throughput", throughput);
        for &k in &settings.ks {
            numbers.pass_at(k);
        }
        DatasetSummary {
            n: self.problems.len() as u64,
            n_judged: self
                .problems
                .values()
                .filter(|s| s.values().any(Sample::judged))
                .count() as u64,
            n_samples: self.samples().count() as u64,
            metrics: numbers.metrics,
            ci95: numbers.ci95,
            error_distribution: self
                .distribution()
                .into_iter()
                .map(|(kind, count)| (kind.to_owned(), count))
                .collect(),
            wall_clock_time: session.map(|session| session.wall_clock.as_secs_f64()),
            bootstrap: settings.bootstrap,
            notes: numbers.notes,
        }
    }
}

/// How many verdicts of each error type had which subtype.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subtypes(BTreeMap<(ErrorType, String), u64>);

impl Subtypes {
    /// Counts one verdict.
    pub fn add(&mut self, error_type: ErrorType, subtype: Option<&str>) {
        if let Some(subtype) = subtype {
            *self.0.entry((error_type, subtype.to_owned())).or_default() += 1;
        }
    }

    /// The subtypes of an error type, the most frequent first.
    pub fn of(&self, error_type: ErrorType) -> Vec<(&str, u64)> {
        let mut counts: Vec<(&str, u64)> = self
            .0
            .iter()
            .filter(|((kind, _), _)| *kind == error_type)
            .map(|((_, subtype), count)| (subtype.as_str(), *count))
            .collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        counts
    }
}

/// The metrics of a summary while it is being computed.
struct Numbers<'a> {
    problems: Vec<(&'a str, Vec<&'a Sample>)>,
    bootstrap: Bootstrap,
    metrics: BTreeMap<String, Option<f64>>,
    ci95: BTreeMap<String, Option<[f64; 2]>>,
    notes: Vec<String>,
}

impl<'a> Numbers<'a> {
    fn new(tally: &'a Tally, bootstrap: Bootstrap) -> Self {
        let problems = tally.problems.iter();
        Self {
            problems: problems
                .map(|(id, s)| (id.as_str(), s.values().collect()))
                .collect(),
            bootstrap,
            metrics: BTreeMap::new(),
            ci95: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    fn put(&mut self, name: &str, value: Option<f64>) {
        self.metrics.insert(name.to_owned(), value);
    }

    /// A rate over all problems, and over those that were judged.
    fn rate(&mut self, name: &str, holds: impl Fn(&Sample) -> Option<bool>) {
        self.share(name, &holds, |_| true);
        self.share(&format!("{name}_judged"), &holds, Sample::judged);
    }

    /// The mean over problems of the share of samples for which something holds. Samples for which
    /// it is unknown, or that are not counted, are left out; so are problems that have no others.
    fn share(
        &mut self,
        name: &str,
        holds: impl Fn(&Sample) -> Option<bool>,
        counts: impl Fn(&Sample) -> bool,
    ) {
        let mut means = Vec::new();
        let mut most_samples = 0;
        for (_, samples) in &self.problems {
            let known: Vec<bool> = samples
                .iter()
                .filter(|s| counts(s))
                .filter_map(|s| holds(s))
                .collect();
            if !known.is_empty() {
                let hits = known.iter().filter(|&&hit| hit).count();
                means.push(hits as f64 / known.len() as f64);
            }
            most_samples = most_samples.max(samples.len());
        }
        self.proportion(name, &means, most_samples <= 1);
    }

    /// Puts a mean of proportions: with one sample a problem a plain proportion, whose interval is
    /// Wilson's, else bootstrapped over problems.
    fn proportion(&mut self, name: &str, means: &[f64], one_sample_each: bool) {
        let ci = if one_sample_each {
            let hits = means.iter().filter(|&&mean| mean == 1.0).count();
            wilson95(hits as u64, means.len() as u64)
        } else {
            self.bootstrap.mean95(means)
        };
        self.put(name, mean(means));
        self.ci95.insert(name.to_owned(), ci);
    }

    /// The mean over problems of the mean over judged samples.
    fn problem_means(&self, value: impl Fn(&Sample) -> Option<f64>) -> Vec<f64> {
        let means = self.problems.iter().map(|(_, samples)| {
            let known: Vec<f64> = samples
                .iter()
                .filter(|s| s.judged())
                .filter_map(|s| value(s))
                .collect();
            mean(&known)
        });
        means.flatten().collect()
    }

    fn average(&mut self, name: &str, value: impl Fn(&Sample) -> Option<f64>) {
        let means = self.problem_means(value);
        self.put(name, mean(&means));
    }

    fn pass_ratios(&mut self) {
        let mut ratios = self.problem_means(|s| s.pass_ratio);
        self.put("pass_ratio_mean", mean(&ratios));
        self.ci95
            .insert("pass_ratio_mean".to_owned(), self.bootstrap.mean95(&ratios));
        ratios.sort_by(f64::total_cmp);
        self.put("pass_ratio_p50", quantile(&ratios, 0.5));
        self.put("pass_ratio_p90", quantile(&ratios, 0.9));
    }

    fn pass_at(&mut self, k: u32) {
        self.pass_at_over(k, &format!("pass@{k}"), |_| true);
        self.pass_at_over(k, &format!("pass@{k}_judged"), Sample::judged);
    }

    /// pass@k over the samples that count. Null when some problem has too few of them: leaving
    /// that problem out would estimate something else.
    fn pass_at_over(&mut self, k: u32, name: &str, counts: impl Fn(&Sample) -> bool) {
        let mut estimates = Vec::new();
        let mut too_few = None;
        let mut most_samples = 0;
        for (id, samples) in &self.problems {
            let counted: Vec<_> = samples.iter().filter(|s| counts(s)).collect();
            let n = counted.len() as u64;
            let passed = counted.iter().filter(|s| s.accepted).count() as u64;
            most_samples = most_samples.max(samples.len());
            match pass_at_k(n, passed, k.into()) {
                Some(estimate) => estimates.push(estimate),
                // Not judged at all: left out, as from every rate over judged problems.
                None if n == 0 => {}
                None => too_few = too_few.or(Some((*id, n))),
            }
        }
        if let Some((id, n)) = too_few {
            self.notes
                .push(format!("{name} is null: problem {id} has {n} samples"));
            self.put(name, None);
            self.ci95.insert(name.to_owned(), None);
            return;
        }
        self.proportion(name, &estimates, most_samples <= 1);
    }
}

#[cfg(test)]
mod tests {
    use judge::Evidence;

    use super::*;

    fn verdict(id: &str, sample: u32, error_type: ErrorType) -> Verdict {
        let passed = error_type == ErrorType::Success;
        let usage = serde_json::json!({
            "wall_time_ms": 0.0, "cpu_time_ms": 0.0, "setup_time_ms": 0.0, "memory_peak_bytes": 0,
        });
        let row = serde_json::json!({
            "schema": judge::VERDICT_SCHEMA, "problem_id": id, "sample": sample, "dataset": "d",
            "kind": "stdio", "accepted": passed, "n_tests": 1, "error_type": error_type,
            "pass_ratio": (error_type != ErrorType::ApiError).then_some(u8::from(passed)),
            "error_subtype": null, "error_types": {}, "evidence": {}, "output_matched": passed,
            "compare": "tokens", "extraction": null, "truncated": false, "integrity": "isolated",
            "isolation": "namespaces", "backend": "native", "wasm": null, "near_limit": false,
            "tests": [], "judge_time": 1.0, "path": "warm", "cached": false, "usage": usage,
        });
        Verdict::from_row(&row.to_string()).expect("a verdict row")
    }

    fn tally(verdicts: &[Verdict]) -> Tally {
        let mut tally = Tally::new("d");
        for verdict in verdicts {
            tally
                .add(verdict, Generation::default())
                .expect("no duplicate");
        }
        tally
    }

    fn settings(ks: &[u32]) -> MetricSettings {
        let bootstrap = Bootstrap {
            seed: 7,
            resamples: 200,
        };
        MetricSettings {
            ks: ks.to_vec(),
            bootstrap,
        }
    }

    #[test]
    fn one_sample_a_problem() {
        use ErrorType::*;
        let kinds = [
            Success,
            Success,
            WrongAnswer,
            WrongAnswer,
            SyntaxError,
            RuntimeError,
            Timeout,
            ApiError,
        ];
        let verdicts: Vec<_> = kinds
            .iter()
            .enumerate()
            .map(|(i, &kind)| verdict(&format!("p{i}"), 0, kind))
            .collect();
        let summary = tally(&verdicts).summary(&settings(&[1]), None);
        assert_eq!((summary.n, summary.n_judged, summary.n_samples), (8, 7, 8));
        let expected = [
            ("exec_success_rate", Some(4.0 / 8.0)),
            ("exec_success_rate_judged", Some(4.0 / 7.0)),
            ("accepted_at_1", Some(2.0 / 8.0)),
            ("accepted_at_1_judged", Some(2.0 / 7.0)),
            ("syntax_error_rate", Some(1.0 / 8.0)),
            ("runtime_error_rate", Some(1.0 / 8.0)),
            ("timeout_rate", Some(1.0 / 8.0)),
            ("wrong_answer_rate", Some(2.0 / 8.0)),
            ("wrong_answer_rate_judged", Some(2.0 / 7.0)),
            ("api_error_rate", Some(1.0 / 8.0)),
            ("pass_ratio_mean", Some(2.0 / 7.0)),
            ("pass_ratio_p50", Some(0.0)),
            ("pass_ratio_p90", Some(1.0)),
            ("avg_judge_time", Some(1.0)),
            ("no_output_rate", Some(0.0)),
            ("pass@1", Some(2.0 / 8.0)),
            ("pass@1_judged", Some(2.0 / 7.0)),
            // Not known, so null and never 0.
            ("avg_gen_tokens", None),
            ("truncation_rate", None),
            ("throughput", None),
        ];
        for (name, value) in expected {
            assert_eq!(summary.metrics.get(name), Some(&value), "metric: {name}");
        }
        assert_eq!(summary.ci95["exec_success_rate"], wilson95(4, 8));
        assert_eq!(summary.ci95["exec_success_rate_judged"], wilson95(4, 7));
        assert_eq!(summary.ci95["truncation_rate"], None);
        assert_eq!(summary.wall_clock_time, None);
        assert_eq!(summary.error_distribution["wrong_answer"], 2);
        assert_eq!(summary.error_distribution.values().sum::<u64>(), 8);
    }

    #[test]
    fn several_samples_are_means_of_means() {
        use ErrorType::*;
        // a: 1 of 2 accepted. b: 1 of 4, of which one was not judged.
        let verdicts = [
            verdict("a", 0, Success),
            verdict("a", 1, SyntaxError),
            verdict("b", 0, Success),
            verdict("b", 1, WrongAnswer),
            verdict("b", 2, RuntimeError),
            verdict("b", 3, ApiError),
        ];
        let summary = tally(&verdicts).summary(&settings(&[1, 2, 3]), None);
        assert_eq!(summary.metric("accepted_at_1"), Some((0.5 + 0.25) / 2.0));
        assert_eq!(
            summary.metric("accepted_at_1_judged"),
            Some((0.5 + 1.0 / 3.0) / 2.0)
        );
        assert_eq!(summary.metric("pass@1"), summary.metric("accepted_at_1"));
        // a: certain with both samples. b: 1 - C(3,2)/C(4,2) = 0.5; of the judged 1 - C(2,2)/C(3,2).
        assert_eq!(summary.metric("pass@2"), Some(0.75));
        let judged = summary.metric("pass@2_judged").expect("enough samples");
        assert!((judged - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert_eq!(summary.metrics.get("pass@3"), Some(&None));
        assert_eq!(summary.notes[0], "pass@3 is null: problem a has 2 samples");
        let [low, high] = summary.ci95["accepted_at_1"].expect("bootstrapped");
        assert!((0.25..=0.5).contains(&low) && low <= high && high <= 0.5);
    }

    #[test]
    fn averages_leave_api_errors_and_unknowns_out() {
        let mut tally = Tally::new("d");
        let facts = |tokens, truncated| Generation {
            tokens,
            truncated,
            time: None,
        };
        let rows = [
            ("a", ErrorType::Success, facts(Some(10), Some(false))),
            ("b", ErrorType::Success, facts(Some(30), Some(true))),
            ("c", ErrorType::ApiError, facts(Some(1000), None)),
            ("d", ErrorType::Success, facts(None, None)),
        ];
        for (id, kind, generation) in rows {
            tally
                .add(&verdict(id, 0, kind), generation)
                .expect("no duplicate");
        }
        let session = Session {
            wall_clock: Duration::from_secs(2),
            problems: 3,
        };
        let summary = tally.summary(&settings(&[1]), Some(session));
        assert_eq!(summary.metric("avg_gen_tokens"), Some(20.0));
        assert_eq!(summary.metric("truncation_rate"), Some(0.5));
        assert_eq!(summary.metric("throughput"), Some(1.5));
        assert_eq!(summary.wall_clock_time, Some(2.0));
    }

    #[test]
    fn a_program_that_prints_nothing_is_counted() {
        let silent = Evidence {
            no_output: true,
            ..Evidence::default()
        };
        let cases = [
            ("silent", "stdio", Some(silent.clone()), Some(1.0)),
            (
                "silent, with a checker",
                "checker",
                Some(silent.clone()),
                Some(1.0),
            ),
            ("it printed", "stdio", Some(Evidence::default()), Some(0.0)),
            ("nothing ran", "stdio", None, Some(0.0)),
            ("a function", "check", Some(silent), None),
        ];
        for (name, kind, evidence, rate) in cases {
            let mut verdict = verdict("a", 0, ErrorType::WrongAnswer);
            verdict.kind = kind.into();
            verdict.evidence = evidence;
            let summary = tally(&[verdict]).summary(&settings(&[1]), None);
            assert_eq!(summary.metrics["no_output_rate"], rate, "case: {name}");
        }
    }

    #[test]
    fn any_order_of_arrival_gives_the_same_bits() {
        let mut random = crate::stats::SplitMix64(3);
        let mut verdicts: Vec<Verdict> = (0..300)
            .map(|i| {
                let kind = ErrorType::ALL[random.below(6)];
                let mut verdict = verdict(&format!("p{}", i / 3), i % 3, kind);
                verdict.pass_ratio = verdict
                    .pass_ratio
                    .map(|_| random.below(1000) as f64 / 997.0);
                verdict.judge_time = random.below(1000) as f64 / 991.0;
                verdict
            })
            .collect();
        let first = tally(&verdicts).summary(&settings(&[1, 2]), None);
        for _ in 0..5 {
            for i in (1..verdicts.len()).rev() {
                verdicts.swap(i, random.below(i + 1));
            }
            assert_eq!(tally(&verdicts).summary(&settings(&[1, 2]), None), first);
        }
    }

    #[test]
    fn our_failures_are_told_from_prompts_that_do_not_fit() {
        let mut verdicts = vec![verdict("a", 0, ErrorType::ApiError); 1];
        let mut too_long = verdict("b", 0, ErrorType::ApiError);
        too_long.error_subtype = Some("context_length".into());
        verdicts.push(too_long);
        verdicts.extend([
            verdict("c", 0, ErrorType::Success),
            verdict("d", 0, ErrorType::Timeout),
        ]);
        let tally = tally(&verdicts);
        assert_eq!(tally.api_error_rate(), 0.25);
        assert_eq!(
            tally
                .summary(&settings(&[1]), None)
                .metric("api_error_rate"),
            Some(0.5)
        );
    }

    #[test]
    fn nothing_judged_is_null_everywhere() {
        let summary = Tally::new("d").summary(&settings(&[1]), None);
        assert_eq!((summary.n, summary.n_judged), (0, 0));
        assert!(
            summary.metrics.values().all(Option::is_none),
            "{:?}",
            summary.metrics
        );
        assert!(summary.ci95.values().all(Option::is_none));
    }

    #[test]
    fn two_verdicts_for_one_sample_are_refused() {
        let mut tally = tally(&[verdict("a", 0, ErrorType::Success)]);
        let again = tally.add(&verdict("a", 0, ErrorType::Timeout), Generation::default());
        assert!(matches!(again, Err(EvalError::DuplicateVerdict { .. })));
    }
}
