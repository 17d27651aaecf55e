//! `codejury dataset check`: do the dataset's own solutions pass under these limits?

use eval::{CheckReport, EvalError};
use judge::{InOrder, Judge, Submission, Verdict};

use crate::args::CheckArgs;
use crate::backend;
use crate::dataset;
use crate::exit::ExitCode;
use crate::interrupt;
use crate::output::{Align, Cell, Palette, Table, inline};
use crate::progress::{self, Event};
use crate::summary::counted;

/// How many problems without a solution are named.
const NAMED: usize = 10;

/// What came out for one dataset.
pub(crate) struct Checked {
    pub(crate) dataset: String,
    pub(crate) report: CheckReport,
}

pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let config = args.judging.judge_config();
    let sandbox_config = args.judging.sandbox_config()?;
    let dataset = dataset::open(args.reading.spec(vec![args.dataset.clone()]))?;
    let judge = Judge::new(
        config,
        backend::runner(&args.judging.sandbox, sandbox_config)?,
    )?;
    let cancel = interrupt::switch()?;

    // Read once to the end before anything runs: a bad row must not show after an hour.
    let mut report = CheckReport::default();
    let mut submissions = 0;
    for submission in
        dataset.reference_submissions(|problem| report.without_reference.push(problem.problem_id))
    {
        submission?;
        submissions += 1;
    }
    let problems = dataset.ids()?.len() as u64;

    let mut reporter = progress::reporter(args.json);
    let slug = dataset.slug();
    reporter.on(&Event::Started {
        dataset: slug,
        problems,
        submissions,
        recorded: 0,
    })?;
    let mut error: Option<anyhow::Error> = None;
    let mut changed: Option<EvalError> = None;
    let stream = dataset
        .reference_submissions(|_| ())
        .map_while(|submission| submission.map_err(|error| changed = Some(error)).ok());
    let mut sink = InOrder::new(|_: &Submission, verdict: Verdict| {
        report.add(&verdict);
        if let Err(reason) = reporter.on(&Event::Verdict(&verdict)) {
            error.get_or_insert(reason);
            cancel.cancel();
        }
    });
    let judged = judge.judge(stream, &mut sink, Some(&cancel));
    drop(sink);
    if let Some(error) = error.or(changed.map(Into::into)) {
        return Err(error);
    }
    judged?;
    if cancel.is_cancelled() {
        return Ok(ExitCode::Interrupted);
    }
    let checked = Checked {
        dataset: slug.to_owned(),
        report,
    };
    reporter.on(&Event::Checked(&checked))?;
    Ok(if checked.report.holds() {
        ExitCode::Done
    } else {
        ExitCode::CheckFailed
    })
}

impl Checked {
    pub(crate) fn text(&self, palette: Palette) -> String {
        let CheckReport {
            checked,
            failing,
            without_reference,
        } = &self.report;
        let mut text = format!(
            "{}  {} tried, {}",
            palette.bold(&inline(&self.dataset)),
            counted(*checked, "solution"),
            match failing.len() {
                0 => palette.green("all accepted"),
                n => palette.red(&format!("{n} not accepted")),
            }
        );
        if !without_reference.is_empty() {
            text += &format!(
                ", {} without any",
                counted(without_reference.len() as u64, "problem")
            );
        }
        text.push('\n');
        if !failing.is_empty() {
            let mut table = Table::new([Align::Left, Align::Right, Align::Left, Align::Left]);
            let heads = ["problem", "solution", "error type", "subtype"];
            table.row(heads.map(|head| Cell::painted(head, Palette::dim)));
            for found in failing {
                table.row([
                    Cell::from(&found.problem_id),
                    found.sample.to_string().into(),
                    found.error_type.as_str().into(),
                    found.error_subtype.as_deref().unwrap_or_default().into(),
                ]);
            }
            text += &format!("\n{}", table.render(palette));
        }
        if !without_reference.is_empty() {
            let named: Vec<_> = without_reference
                .iter()
                .take(NAMED)
                .map(|id| inline(id))
                .collect();
            let more = match without_reference.len().saturating_sub(NAMED) {
                0 => String::new(),
                n => format!(", and {n} more"),
            };
            text += &format!("\n  no solution: {}{more}\n", named.join(", "));
        }
        text
    }
}
