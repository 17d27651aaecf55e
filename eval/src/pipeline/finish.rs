//! The files that stand when all is judged: summary, metrics, QA logs.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use super::prepare::DatasetRun;
use super::session::Session;
use super::{Evaluated, Progress, Stage, lock};
use crate::error::EvalError;
use crate::generate::CompletionRecord;
use crate::judging::Ledger;
use crate::qa::{Candidate, QaRecord, choose};
use crate::results::{Evaluation, ResultsFolder, write_atomically, write_json};

impl Session<'_> {
    /// Completes the files of the stages that were run.
    pub(super) fn complete(
        &self,
        folder: &ResultsFolder,
        ledgers: BTreeMap<String, Ledger>,
    ) -> Result<Evaluated, EvalError> {
        let plan = self.plan;
        let mut evaluated = Evaluated {
            judged: BTreeMap::new(),
            void: None,
        };
        if self.has(Stage::Metrics) {
            for run in self.runs {
                let ledger = &ledgers[&run.slug];
                let missing = run.ids().filter(|(id, n)| !ledger.has_any(id, *n)).count();
                if missing > 0 {
                    return Err(EvalError::invalid(format!(
                        "{missing} samples of {} have no verdict yet",
                        run.slug
                    ))
                    .hint("run the stages `completions` and `verdicts` first"));
                }
                self.write_qa(folder, run, ledger)?;
            }
        }
        for (slug, ledger) in ledgers {
            let judged = ledger.finish(plan.config.max_api_error_rate)?;
            if self.has(Stage::Metrics) {
                evaluated.void = evaluated.void.or(judged.too_many_failures.clone());
                evaluated.judged.insert(slug, judged);
            }
        }
        for run in self.runs {
            lock(&run.completions).rewrite()?;
        }
        if self.has(Stage::Metrics) {
            let summaries = evaluated.judged.iter();
            let summaries = summaries.map(|(slug, judged)| (slug.clone(), judged.summary.clone()));
            folder.write_evaluation(
                Evaluation {
                    kind: plan.subject.kind.as_str().into(),
                    step: plan.subject.step,
                    model: plan.subject.name.clone(),
                    model_path: plan.subject.model_path.clone(),
                    model_fingerprint: plan.subject.fingerprint.clone(),
                    generator: plan.config.generator.kind.as_str().into(),
                    usable: evaluated.void.is_none(),
                    reason: evaluated.void.as_ref().map(ToString::to_string),
                },
                summaries.collect(),
            )?;
            for (slug, judged) in &evaluated.judged {
                (self.tell)(Progress::Finished {
                    dataset: slug,
                    judged,
                })?;
            }
        }
        Ok(evaluated)
    }

    /// Writes the QA log of one dataset.
    fn write_qa(
        &self,
        folder: &ResultsFolder,
        run: &DatasetRun,
        ledger: &Ledger,
    ) -> Result<(), EvalError> {
        let subject = &self.plan.subject;
        let config = &self.plan.config.datasets[&run.slug];
        let mut candidates = Vec::new();
        for (id, sample) in run.ids() {
            if let Some(error_type) = ledger.error_type(id, sample) {
                candidates.push(Candidate {
                    problem_id: id.to_owned(),
                    sample,
                    error_type,
                });
            }
        }
        let chosen = choose(&candidates, config.qa_total, config.qa_per_type);
        let mut records = Vec::new();
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for choice in &chosen {
            let Candidate {
                problem_id: id,
                sample,
                ..
            } = &candidates[choice.index];
            let place = run.places[id];
            let verdict = ledger.verdict(id, *sample)?.expect("a candidate has one");
            let row = lock(&run.completions).row(id, *sample)?;
            let row = row.expect("a verdict has a completion");
            let row: CompletionRecord =
                serde_json::from_str(&row).map_err(|error| run.bad_row(id, error.to_string()))?;
            *counts.entry(choice.sampled_as).or_default() += 1;
            let extra = json!({
                "step": subject.step,
                "checkpoint": subject.model_path,
                "model": subject.name,
                "sample": sample,
                "sampled_as": choice.sampled_as,
                "error_subtype": verdict.error_subtype,
                "evidence": verdict.evidence,
                "first_difference": verdict.tests.iter().find_map(|test| test.first_difference.as_ref()),
                "extraction": verdict.extraction,
                "finish_reason": row.finish_reason,
                "truncated": row.truncated,
            });
            let Value::Object(extra) = extra else {
                unreachable!("written as an object above")
            };
            let answers = [row.completion, row.source, row.source_b64];
            records.push(QaRecord {
                schema: QaRecord::SCHEMA.into(),
                dataset: run.slug.clone(),
                problem_id: id.clone(),
                prompt: run.prompts[place as usize].prompt.clone(),
                response: answers.into_iter().flatten().next().unwrap_or_default(),
                accepted: verdict.accepted,
                pass_ratio: verdict.pass_ratio,
                error_type: verdict.error_type,
                judge_time: verdict.judge_time,
                gen_time: row.gen_time,
                gen_tokens: row.gen_tokens,
                extra,
            });
        }
        let logs = folder.path().join("qa_logs");
        fs::create_dir_all(&logs).map_err(EvalError::write(&logs))?;
        write_atomically(&logs.join(format!("{}_qa.jsonl", run.slug)), |out| {
            for record in &records {
                serde_json::to_writer(&mut *out, record)?;
                out.write_all(b"\n")?;
            }
            Ok(())
        })?;
        let path = logs.join("qa_summary.json");
        let mut summary: Value = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_default(),
            Err(_) => Value::Null,
        };
        if !summary["datasets"].is_object() {
            summary = json!({"schema": "codejury.qa_summary/1", "datasets": {}});
        }
        let mut by_type: BTreeMap<&str, u64> = BTreeMap::new();
        for record in &records {
            *by_type.entry(record.error_type.as_str()).or_default() += 1;
        }
        summary["datasets"][&run.slug] = json!({
            "n": records.len(),
            "of": candidates.len(),
            "sampled_as": counts,
            "error_types": by_type,
        });
        sort_keys(&mut summary["datasets"]);
        write_json(&path, &summary)
    }
}

/// So that the order in which datasets came does not show.
fn sort_keys(object: &mut Value) {
    if let Value::Object(fields) = object {
        fields.sort_keys();
    }
}
