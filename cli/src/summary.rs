//! The table at the end of a judgement.

use std::path::PathBuf;
use std::time::Duration;

use eval::{DatasetSummary, Subtypes};
use judge::ErrorType;

use crate::output::{Align, Cell, Palette, Table, inline};
use crate::units::show_duration;

/// How many subtypes of an error type are shown.
const SHOWN_SUBTYPES: usize = 4;

/// What a dataset's judgement came to.
pub(crate) struct Report {
    pub(crate) dataset: String,
    pub(crate) summary: DatasetSummary,
    /// How many verdicts of each error type had which subtype.
    pub(crate) subtypes: Subtypes,
    /// What the programs ran in: `namespaces, native, CPython 3.11.7`.
    pub(crate) sandbox: String,
    /// Where the files are.
    pub(crate) folder: PathBuf,
}

/// `NameError 12, IndexError 3, others 2`: the most frequent first.
fn subtypes_text(subtypes: &Subtypes, error_type: ErrorType) -> String {
    let counts = subtypes.of(error_type);
    let (shown, rest) = counts.split_at(counts.len().min(SHOWN_SUBTYPES));
    let mut parts: Vec<String> = shown
        .iter()
        .map(|(subtype, count)| format!("{subtype} {count}"))
        .collect();
    if !rest.is_empty() {
        let rest: u64 = rest.iter().map(|(_, count)| count).sum();
        parts.push(format!("others {rest}"));
    }
    parts.join(", ")
}

/// The metrics of the table, in its order; those of pass@k follow.
const METRICS: [&str; 3] = ["accepted_at_1", "exec_success_rate", "pass_ratio_mean"];

impl Report {
    /// The table.
    pub(crate) fn text(&self, palette: Palette) -> String {
        let summary = &self.summary;
        let mut text = format!(
            "\n{}  {}, {}",
            palette.bold(&inline(&self.dataset)),
            counted(summary.n, "problem"),
            counted(summary.n_samples, "submission"),
        );
        if let Some(seconds) = summary.wall_clock_time {
            text += &format!(", {}", show_duration(Duration::from_secs_f64(seconds)));
        }
        text += &format!("\n\n{}", self.metrics(palette));
        text += &format!("\n{}", self.error_types(palette));
        let mut facts = Table::new([Align::Left; 2]);
        facts.row([
            Cell::painted("sandbox", Palette::dim),
            Cell::from(&self.sandbox),
        ]);
        let folder = self.folder.display().to_string();
        facts.row([Cell::painted("results", Palette::dim), folder.into()]);
        for note in &summary.notes {
            facts.row([Cell::painted("note", Palette::yellow), note.into()]);
        }
        text + &format!("\n{}", facts.render(palette))
    }

    fn metrics(&self, palette: Palette) -> String {
        let passes = self.summary.metrics.keys().filter(|name| is_pass_at(name));
        let names = METRICS.into_iter().chain(passes.map(String::as_str));
        let mut table = Table::new([Align::Left, Align::Right, Align::Left]);
        for name in names {
            let Some(value) = self.summary.metric(name) else {
                continue;
            };
            let interval = self
                .summary
                .ci95
                .get(name)
                .copied()
                .flatten()
                .map_or_else(String::new, |[low, high]| {
                    format!("95 %: {:.1} to {:.1}", low * 100.0, high * 100.0)
                });
            let value = format!("{:.1} %", value * 100.0);
            table.row([
                name.into(),
                value.into(),
                Cell::painted(interval, Palette::dim),
            ]);
        }
        table.render(palette)
    }

    fn error_types(&self, palette: Palette) -> String {
        let mut table = Table::new([Align::Left, Align::Right, Align::Right, Align::Left]);
        for kind in ErrorType::ALL {
            let count = self
                .summary
                .error_distribution
                .get(kind.as_str())
                .copied()
                .unwrap_or(0);
            let share = 100.0 * count as f64 / self.summary.n_samples.max(1) as f64;
            let name = match kind {
                ErrorType::Success => Cell::painted(kind.as_str(), Palette::green),
                ErrorType::ApiError if count > 0 => Cell::painted(kind.as_str(), Palette::red),
                _ => kind.as_str().into(),
            };
            table.row([
                name,
                count.to_string().into(),
                format!("{share:.1} %").into(),
                Cell::painted(subtypes_text(&self.subtypes, kind), Palette::dim),
            ]);
        }
        table.render(palette)
    }
}

fn is_pass_at(name: &str) -> bool {
    name.strip_prefix("pass@")
        .is_some_and(|k| k.bytes().all(|digit| digit.is_ascii_digit()))
}

pub(crate) fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
