//! An evaluation that is killed again and again ends with the files of one that was not.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Folder, wait_until};
use crate::{Fake, plan, rows, setup};

/// Files of an evaluation, times taken out.
fn fingerprint(folder: &Folder) -> Vec<(String, String)> {
    let out = folder.join("outputs");
    let names = [
        "eval_step_500/completions/d.jsonl",
        "eval_step_500/prompts/d.jsonl",
        "eval_step_500/verdicts/d.jsonl",
        "eval_step_500/qa_logs/d_qa.jsonl",
        "eval_step_500/qa_logs/qa_summary.json",
        "eval_step_500/metrics.json",
        "eval_step_500/summary.json",
        "eval_step_500/run.json",
        "best_checkpoint.json",
        "metrics.jsonl",
    ];
    let mut files = Vec::new();
    for name in names {
        let text = fs::read_to_string(out.join(name)).expect(name);
        let lines = text.lines().filter_map(|line| {
            // Whole documents are pretty-printed: a measured value has a line of its own.
            let measured = [
                "wall_clock_time",
                "throughput",
                "avg_judge_time",
                "\"out\"",
                "base_url",
            ];
            if measured.iter().any(|key| line.contains(key)) && !name.ends_with(".jsonl") {
                return None;
            }
            let Ok(mut row) = serde_json::from_str::<Value>(line) else {
                return Some(line.to_owned());
            };
            strip(&mut row);
            Some(row.to_string())
        });
        files.push((name.to_owned(), lines.collect::<Vec<_>>().join("\n")));
    }
    files
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let measured = [
                "usage",
                "judge_time",
                "gen_time",
                "path",
                "cached",
                "near_limit",
                "eval/d/throughput",
                "eval/d/avg_judge_time",
                "eval/d/wall_clock_time",
            ];
            fields.retain(|key, _| !measured.contains(&key.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// A point of an evaluation, counted from where the one before was killed.
#[derive(Debug)]
enum Point {
    Started,
    Asked(usize),
    Generated(usize),
    Judged(usize),
    /// So many rows are generated and not yet judged.
    Behind(usize),
}

/// Draws numbers; what was drawn is printed when the test fails.
struct Draw(u64);

impl Draw {
    fn new() -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        let seed = RandomState::new().hash_one(0);
        eprintln!("seed {seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn point(&mut self) -> Point {
        let more = 1 + self.below(4) as usize;
        match self.below(4) {
            0 => Point::Started,
            1 => Point::Asked(more),
            2 => Point::Generated(more),
            _ => Point::Judged(more),
        }
    }
}

/// A folder whose model is right, wrong, and fails in some ways, with programs that take their time, the
/// first of them longest, so that judging goes on beside generating and after it.
fn mixed(count: usize) -> (Folder, Value) {
    let folder = setup(count, "chat");
    let settings = folder.read("eval.toml") + "[selection]\ndataset = \"d\"\n";
    folder.file("eval.toml", settings);
    let mut plan = plan(&folder, count, json!([]));
    for i in 0..count {
        let program = match i % 5 {
            0 => {
                let time_s = if i == 0 { 5.0 } else { 0.4 };
                format!("import time\ntime.sleep({time_s})\nprint({i})")
            }
            1 => "print(-1)".to_owned(),
            2 => "print(".to_owned(),
            3 => "print(1 // 0)".to_owned(),
            _ => continue,
        };
        plan["answers"][format!("<{i}>")] = json!(format!("```python\n{program}\n```"));
    }
    // These never fit.
    plan["tokens"] = json!({"<19>": 7000, "<44>": 7000});
    (folder, plan)
}

#[test]
fn killed_at_twenty_random_points_it_ends_with_the_same_files() {
    const COUNT: usize = 200;
    const KILLS: usize = 20;
    // One worker: while it runs the first program, judging falls behind, on every machine.
    let line =
        |url: &str| format!("eval --config eval.toml --step 500 --workers 1 --base-url {url}");
    let (whole, plan) = mixed(COUNT);
    let fake = Fake::start(&whole, &plan);
    let ended = whole.run(&line(&fake.url()));
    assert_eq!(ended.code, 0, "{}", ended.stderr);

    let (folder, mut plan) = mixed(COUNT);
    plan["delay_s"] = json!(0.25);
    let fake = Fake::start(&folder, &plan);
    let url = fake.url();
    let asked = || rows(&folder.join("requests.jsonl")).len();
    let generated = || whole_rows(&folder, "completions").len();
    let judged = || whole_rows(&folder, "verdicts").len();
    let mut draw = Draw::new();
    // Every row that was on disk after a kill, byte for byte with its times.
    let (mut generated_rows, mut judged_rows) = (BTreeSet::new(), BTreeSet::new());
    // Twenty in its midst, and three while its files are completed.
    for kill in 0..KILLS + 3 {
        let point = match kill {
            0 => Point::Behind(5),
            _ => draw.point(),
        };
        let delay = Duration::from_millis(draw.below(40));
        let before: Vec<String> = whole_rows(&folder, "completions")
            .iter()
            .filter(|row| row.get("completion").is_some())
            .map(|row| row["problem_id"].as_str().expect("an id").to_owned())
            .collect();
        let counts = (asked(), generated(), judged());
        let mut child = folder
            .command(line(&url).split_whitespace())
            .spawn()
            .expect("starts");
        wait_until("it is there, or at its end", || {
            let there = match point {
                _ if kill >= KILLS => judged() == COUNT,
                Point::Started => true,
                Point::Asked(more) => asked() >= counts.0 + more,
                Point::Generated(more) => generated() >= counts.1 + more,
                Point::Judged(more) => judged() >= counts.2 + more,
                Point::Behind(by) => generated() >= judged() + by,
            };
            there || child.try_wait().expect("waits").is_some()
        });
        std::thread::sleep(delay);
        let ended = child.try_wait().expect("waits");
        assert!(
            kill >= KILLS || ended.is_none(),
            "{kill}: ended at {point:?}"
        );
        let _ = child.kill();
        let _ = child.wait();
        generated_rows.extend(whole_lines(&folder, "completions"));
        judged_rows.extend(whole_lines(&folder, "verdicts"));
        // What was on disk is not asked for again.
        for request in &rows(&folder.join("requests.jsonl"))[counts.0..] {
            let text = request.to_string();
            for id in &before {
                let number = id.trim_start_matches("p/");
                assert!(
                    !text.contains(&format!("<{number}>")),
                    "{id} was generated twice"
                );
            }
        }
    }
    let ended = folder.run(&line(&url));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for ((name, left), (_, right)) in fingerprint(&whole).iter().zip(fingerprint(&folder)) {
        assert_eq!(left, &right, "{name}");
    }
    // Nothing was generated or judged a second time once it was on disk.
    for (kind, before) in [("completions", generated_rows), ("verdicts", judged_rows)] {
        let last: BTreeSet<String> = whole_lines(&folder, kind).into_iter().collect();
        assert_eq!(last.len(), COUNT);
        let lost: Vec<&String> = before.difference(&last).collect();
        assert!(lost.is_empty(), "{kind}: {lost:?}");
    }
    let asked = asked();
    assert!(
        asked <= COUNT + KILLS * 4,
        "{asked} requests for {COUNT} samples"
    );
    eprintln!("{asked} requests for {COUNT} samples in {KILLS} kills");
}

/// Whole lines of a file of the evaluation, which may end in half a line.
fn whole_lines(folder: &Folder, of: &str) -> Vec<String> {
    let path = folder.join(format!("outputs/eval_step_500/{of}/d.jsonl"));
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}

fn whole_rows(folder: &Folder, of: &str) -> Vec<Value> {
    let rows = whole_lines(folder, of).into_iter();
    let rows = rows.map(|line| serde_json::from_str(&line));
    rows.collect::<Result<_, _>>().expect("rows")
}
