//! `codejury compare`: two evaluations side by side, as tables, Markdown or JSON.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use ::eval::compare::{Comparison, Table as Sheet};
use ::eval::{read_trainer_log, select};

use crate::eval_args::{CompareArgs, CompareFormat};
use crate::exit::ExitCode;
use crate::output::{Align, Cell, Palette, Table, inline, print};

pub(crate) fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let config = args.source.load()?;
    let losses = match &args.trainer_log {
        Some(path) => read_trainer_log(path)?,
        None => BTreeMap::new(),
    };
    // The evaluations beside the new one are of the same run.
    let beside = args
        .new
        .parent()
        .filter(|path| !path.as_os_str().is_empty());
    let others = select::finished(beside.unwrap_or(Path::new("."))).unwrap_or_default();
    let comparison = ::eval::compare::compare(&args.base, &args.new, &config, &others, &losses)?;
    let text = match args.format {
        CompareFormat::Table => console(&comparison, Palette::of(&io::stdout())),
        CompareFormat::Markdown => comparison.to_markdown(),
        CompareFormat::Json => serde_json::to_string_pretty(&comparison)? + "\n",
    };
    match &args.write {
        Some(path) => ::eval::write_file(path, text.as_bytes())?,
        None => print(text)?,
    }
    Ok(match args.fail_on_alarm && !comparison.alarms.is_empty() {
        true => ExitCode::CheckFailed,
        false => ExitCode::Done,
    })
}

fn console(comparison: &Comparison, palette: Palette) -> String {
    let name = |side: &::eval::compare::Side| {
        let model = side.model.clone().unwrap_or_default();
        format!("{} ({})", inline(&model), inline(&side.folder))
    };
    let mut text = format!(
        "base  {}\nnew   {}\n",
        name(&comparison.base),
        name(&comparison.new)
    );
    for sheet in comparison.tables() {
        text += &format!(
            "\n{}\n\n{}",
            palette.bold(&inline(&sheet.title)),
            set(&sheet, palette)
        );
    }
    text.push('\n');
    if comparison.alarms.is_empty() {
        text += "no alarm\n";
    }
    for alarm in &comparison.alarms {
        text += &format!(
            "{} {}: {}\n  likely cause: {}\n  look at: {}\n",
            palette.red("alarm"),
            inline(&alarm.name),
            inline(&alarm.what),
            inline(&alarm.likely_cause),
            inline(&alarm.look_at)
        );
    }
    for warning in &comparison.warnings {
        text += &format!("{} {}\n", palette.yellow("warning:"), inline(warning));
    }
    for note in &comparison.notes {
        text += &format!("note: {}\n", inline(note));
    }
    text
}

/// A sheet as a table; what starts with a digit or sign is set to the right.
fn set(sheet: &Sheet, palette: Palette) -> String {
    let right = |column: usize| {
        let mut cells = sheet
            .rows
            .iter()
            .filter_map(|row| row.get(column))
            .peekable();
        let number =
            |text: &String| text.starts_with(|c: char| c.is_ascii_digit() || "+-<–≈".contains(c));
        cells.peek().is_some() && cells.all(number)
    };
    let align = |column| match right(column) {
        true => Align::Right,
        false => Align::Left,
    };
    let columns: Vec<Align> = (0..sheet.heads.len()).map(align).collect();
    let mut table = Table::new(columns);
    table.row(
        sheet
            .heads
            .iter()
            .map(|head| Cell::painted(head, Palette::dim)),
    );
    for row in &sheet.rows {
        table.row(row.iter().map(|text| match text.as_str() {
            "inside noise" => Cell::painted(text, Palette::dim),
            "as expected" | "better" => Cell::painted(text, Palette::green),
            "worse" | "against expectation" | "less than expected" => {
                Cell::painted(text, Palette::yellow)
            }
            text => text.into(),
        }));
    }
    table.render(palette)
}
