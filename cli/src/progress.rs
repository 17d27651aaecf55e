//! What people and programs see while a judgement goes on.
//!
//! The work emits [`Event`]s and never prints. Reporters are peers: bars on a terminal, plain lines
//! where standard error is a file, JSON events for programs.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use judge::{ErrorType, Verdict};
use serde_json::json;

use crate::check::Checked;
use crate::output::{Palette, print, say};
use crate::summary::Report;
use crate::units::show_duration;

/// Plain lines come at most this often: a night's log should be read, not scrolled.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Something that happened. Each `Started` has one `Finished`, unless an error or an interruption
/// ends the work.
pub(crate) enum Event<'a> {
    /// A dataset's submissions are about to be judged.
    Started {
        dataset: &'a str,
        problems: u64,
        submissions: u64,
        /// How many of them an earlier run has judged.
        recorded: u64,
    },
    /// A submission was judged and its verdict is on disk.
    Verdict(&'a Verdict),
    /// A dataset is done; its files are complete.
    Finished(&'a Report),
    /// A dataset's own solutions were tried.
    Checked(&'a Checked),
}

/// Shows events as they come.
pub(crate) trait Reporter {
    fn on(&mut self, event: &Event<'_>) -> anyhow::Result<()>;
}

/// The reporter for this process: JSON if asked for, bars if somebody watches, else lines.
pub(crate) fn reporter(json: bool) -> Box<dyn Reporter + Send> {
    if json {
        Box::new(Json)
    } else if io::stderr().is_terminal() {
        Box::new(Bars {
            bar: ProgressBar::hidden(),
            counts: Counts::default(),
        })
    } else {
        Box::new(Lines::new(LINE_EVERY))
    }
}

/// Verdicts by error type.
#[derive(Default)]
struct Counts(BTreeMap<ErrorType, u64>);

impl Counts {
    fn add(&mut self, verdict: &Verdict) {
        *self.0.entry(verdict.error_type).or_default() += 1;
    }

    /// `success 12, wrong_answer 3`: what there is.
    fn text(&self) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(kind, count)| format!("{} {count}", kind.as_str()))
            .collect();
        parts.join(", ")
    }
}

/// One bar for each dataset, with the counts under it.
struct Bars {
    bar: ProgressBar,
    counts: Counts,
}

const BAR: &str =
    "{prefix}  {bar:30} {pos}/{len}  {per_sec}  {elapsed} gone, ETA {eta}\n  {wide_msg}";

impl Reporter for Bars {
    fn on(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        match event {
            Event::Started {
                dataset,
                submissions,
                recorded,
                ..
            } => {
                self.counts = Counts::default();
                let style = ProgressStyle::with_template(BAR)?.progress_chars("=> ");
                self.bar = ProgressBar::new(*submissions)
                    .with_style(style)
                    .with_prefix((*dataset).to_owned())
                    // The rate is that of this run, not of what was found on disk.
                    .with_position(*recorded);
                self.bar.reset_eta();
                self.bar.enable_steady_tick(Duration::from_millis(250));
            }
            Event::Verdict(verdict) => {
                self.counts.add(verdict);
                self.bar.set_message(self.counts.text());
                self.bar.inc(1);
            }
            Event::Finished(report) => {
                self.bar.finish_and_clear();
                print(report.text(Palette::of(&io::stdout())))?;
            }
            Event::Checked(checked) => {
                self.bar.finish_and_clear();
                print(checked.text(Palette::of(&io::stdout())))?;
            }
        }
        Ok(())
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // After an error the bar's last state stays readable above the message.
        self.bar.abandon();
    }
}

/// One line now and then.
struct Lines {
    every: Duration,
    dataset: String,
    submissions: u64,
    done: u64,
    judged: u64,
    counts: Counts,
    started: Instant,
    last_line: Instant,
}

impl Lines {
    fn new(every: Duration) -> Self {
        let now = Instant::now();
        Self {
            every,
            dataset: String::new(),
            submissions: 0,
            done: 0,
            judged: 0,
            counts: Counts::default(),
            started: now,
            last_line: now,
        }
    }

    fn line(&self) -> String {
        let share = 100.0 * self.done as f64 / self.submissions.max(1) as f64;
        let rate = self.judged as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
        let left = Duration::from_secs_f64((self.submissions - self.done) as f64 / rate.max(1e-6));
        format!(
            "{}: {} of {} ({share:.0} %), {rate:.1} a second, ETA {}; {}\n",
            self.dataset,
            self.done,
            self.submissions,
            show_duration(left),
            self.counts.text()
        )
    }
}

impl Reporter for Lines {
    fn on(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        match event {
            Event::Started {
                dataset,
                problems,
                submissions,
                recorded,
            } => {
                *self = Self {
                    dataset: (*dataset).to_owned(),
                    submissions: *submissions,
                    done: *recorded,
                    ..Self::new(self.every)
                };
                let before = match recorded {
                    0 => String::new(),
                    n => format!(", {n} of them judged before"),
                };
                say(format!(
                    "{dataset}: {submissions} submissions for {problems} problems{before}\n"
                ));
            }
            Event::Verdict(verdict) => {
                self.counts.add(verdict);
                self.done += 1;
                self.judged += 1;
                if self.last_line.elapsed() >= self.every {
                    self.last_line = Instant::now();
                    say(self.line());
                }
            }
            Event::Finished(report) => print(report.text(Palette::of(&io::stdout())))?,
            Event::Checked(checked) => print(checked.text(Palette::of(&io::stdout())))?,
        }
        Ok(())
    }
}

/// One JSON object a line on standard output.
struct Json;

impl Reporter for Json {
    fn on(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        let object = match event {
            Event::Started {
                dataset,
                problems,
                submissions,
                recorded,
            } => json!({
                "event": "started",
                "dataset": dataset,
                "problems": problems,
                "submissions": submissions,
                "recorded": recorded,
            }),
            Event::Verdict(verdict) => json!({
                "event": "verdict",
                "dataset": verdict.dataset,
                "problem_id": verdict.problem_id,
                "sample": verdict.sample,
                "accepted": verdict.accepted,
                "pass_ratio": verdict.pass_ratio,
                "error_type": verdict.error_type,
                "error_subtype": verdict.error_subtype,
                "judge_time": verdict.judge_time,
            }),
            Event::Finished(report) => json!({
                "event": "finished",
                "dataset": report.dataset,
                "folder": report.folder,
                "summary": report.summary,
            }),
            Event::Checked(checked) => json!({
                "event": "checked",
                "dataset": checked.dataset,
                "report": checked.report,
            }),
        };
        print(object.to_string() + "\n")
    }
}
