//! A comparison as tables and as Markdown.

use std::fmt::Write as _;

use super::{Comparison, Side, p_text};

/// How many ids of flipped problems the Markdown names.
const NAMED: usize = 20;

/// A table of the report, for whoever sets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// The heads of its columns.
    pub heads: Vec<&'static str>,
    /// Its cells.
    pub rows: Vec<Vec<String>>,
}

impl Comparison {
    /// The report's tables.
    pub fn tables(&self) -> Vec<Table> {
        let mut tables = vec![self.quality_table()];
        if !self.errors.is_empty() {
            tables.push(self.error_table());
        }
        tables.push(self.flip_table());
        if !self.curves.is_empty() {
            tables.push(self.curve_table());
        }
        tables
    }

    fn quality_table(&self) -> Table {
        let rows = self.quality.iter().map(|row| {
            let pair = &row.paired;
            let interval = pair.delta_ci95.map_or_else(String::new, |[low, high]| {
                format!("{:+.1} to {:+.1}", 100.0 * low, 100.0 * high)
            });
            vec![
                row.dataset.clone(),
                row.metric.clone(),
                pair.n.to_string(),
                format!("{:.1} %", 100.0 * pair.base),
                format!("{:.1} %", 100.0 * pair.new),
                format!("{:+.1} pp", 100.0 * pair.delta),
                interval,
                p_text(pair.p),
                row.p_holm.map_or_else(|| "–".into(), p_text),
                row.expected_pp.map_or_else(
                    || {
                        if row.primary || row.metric == "pass@1" {
                            "≈".into()
                        } else {
                            "–".into()
                        }
                    },
                    |[low, high]| format!("{low:+} to {high:+} pp"),
                ),
                row.reading.clone(),
            ]
        });
        Table {
            title: "Quality".into(),
            heads: vec![
                "dataset", "metric", "n", "base", "new", "Δ", "95 %", "p", "p (Holm)", "expected",
                "reading",
            ],
            rows: rows.collect(),
        }
    }

    fn error_table(&self) -> Table {
        let rows = self.errors.iter().map(|row| {
            let pair = &row.paired;
            vec![
                row.error_type.as_str().to_owned(),
                format!("{:.1} %", 100.0 * pair.base),
                format!("{:.1} %", 100.0 * pair.new),
                row.change_percent
                    .map_or_else(|| "–".into(), |change| format!("{change:+.0} %")),
                row.expected_percent.map_or_else(
                    || "≈ or up".into(),
                    |[low, high]| format!("{low:+} to {high:+} %"),
                ),
                format!("+{} −{}", pair.up, pair.down),
                p_text(pair.p),
                row.reading().to_owned(),
            ]
        });
        let dataset = self.errors.first().map_or("", |row| row.dataset.as_str());
        Table {
            title: format!("Errors on {dataset}"),
            heads: vec![
                "error type",
                "base",
                "new",
                "relative",
                "expected",
                "problems",
                "p",
                "reading",
            ],
            rows: rows.collect(),
        }
    }

    fn flip_table(&self) -> Table {
        let rows = self.flips.iter().map(|(slug, flips)| {
            vec![
                slug.clone(),
                flips.n.to_string(),
                flips.gained.len().to_string(),
                flips.lost.len().to_string(),
                flips.now_executes.len().to_string(),
                flips.no_longer_executes.len().to_string(),
            ]
        });
        Table {
            title: "Problems that changed".into(),
            heads: vec![
                "dataset",
                "n",
                "accepted +",
                "accepted −",
                "executes +",
                "executes −",
            ],
            rows: rows.collect(),
        }
    }

    fn curve_table(&self) -> Table {
        let rows = self.curves.iter().map(|point| {
            vec![
                point.step.to_string(),
                point
                    .val_loss
                    .map_or_else(|| "–".into(), |loss| format!("{loss:.4}")),
                point
                    .exec_success_rate
                    .map_or_else(|| "–".into(), |rate| format!("{:.1} %", 100.0 * rate)),
            ]
        });
        Table {
            title: "Loss and execution by step".into(),
            heads: vec!["step", "val_loss", "exec_success_rate"],
            rows: rows.collect(),
        }
    }

    /// The report as Markdown.
    pub fn to_markdown(&self) -> String {
        let mut out = String::new();
        let name = |side: &Side| match (&side.model, side.step) {
            (Some(model), _) => model.clone(),
            (None, Some(step)) => format!("step {step}"),
            (None, None) => side.folder.clone(),
        };
        let _ = writeln!(
            out,
            "# {} against {}\n",
            cell(&name(&self.new)),
            cell(&name(&self.base))
        );
        let _ = writeln!(
            out,
            "Base: `{}`  \nNew: `{}`\n",
            self.base.folder, self.new.folder
        );
        for table in self.tables() {
            let _ = writeln!(out, "## {}\n", cell(&table.title));
            let _ = writeln!(out, "| {} |", table.heads.join(" | "));
            let _ = writeln!(out, "|{}", "---|".repeat(table.heads.len()));
            for row in &table.rows {
                let cells: Vec<String> = row.iter().map(|text| cell(text)).collect();
                let _ = writeln!(out, "| {} |", cells.join(" | "));
            }
            out.push('\n');
        }
        let _ = writeln!(out, "## Alarms\n");
        if self.alarms.is_empty() {
            let _ = writeln!(out, "None.");
        }
        for alarm in &self.alarms {
            let _ = writeln!(
                out,
                "- **{}**: {}  \n  Likely cause: {}.  \n  Look at: {}.",
                alarm.name, alarm.what, alarm.likely_cause, alarm.look_at
            );
        }
        for warning in &self.warnings {
            let _ = writeln!(out, "- warning: {}", cell(warning));
        }
        for (slug, flips) in &self.flips {
            for (what, ids) in [("gained", &flips.gained), ("lost", &flips.lost)] {
                if ids.is_empty() {
                    continue;
                }
                let named: Vec<String> = ids
                    .iter()
                    .take(NAMED)
                    .map(|id| format!("`{}`", cell(id)))
                    .collect();
                let more = match ids.len().saturating_sub(NAMED) {
                    0 => String::new(),
                    n => format!(" and {n} more"),
                };
                let _ = writeln!(
                    out,
                    "\n{slug}, {what} ({}): {}{more}",
                    ids.len(),
                    named.join(", ")
                );
            }
        }
        for note in &self.notes {
            let _ = writeln!(out, "\nNote: {}", cell(note));
        }
        let _ = writeln!(
            out,
            "\nPaired on the problems that both have judged. p: exact McNemar (bootstrap over problems where \
             there are several samples or shares); Holm over the primary set. 95 %: paired bootstrap."
        );
        out
    }
}

/// Text that cannot break out of a table's cell.
fn cell(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .replace('|', "\\|")
}
