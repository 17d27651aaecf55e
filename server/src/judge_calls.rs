//! `POST /v1/judge`: many submissions in one call, one verdict row a line as each is reached, and a
//! last line that says that this is all.
//!
//! # Theory of operation
//!
//!   handler (async)                 judging (a thread of its own)
//!     | -- checked submissions ------->| Judge: its workers make runs, each of which
//!     |                                | waits for its turn in the queue
//!     |<------ verdict rows -----------| through a bounded channel: a client that reads
//!     | as lines of the answer         | slowly slows its own call down
//!     | -- gone ---------------------->| the call's switch: its runs end
//!
//! A call first waits for one of a few places, which bound the threads. While no verdict comes, blank
//! lines do, since proxies end connections on which nothing happens.
//!
//! Everything is checked before the first line, so a bad row is an error with a code and not the end
//! of a stream. Verdicts are the same as everywhere, and known ones come from the cache: sending the
//! same call again costs nothing, which is all that a client needs after a lost connection.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body as AnswerBody;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use eval::{CompletionRow, ExtractRule, spellings};
use executor::{Cancel, Network};
use http_body_util::StreamBody;
use judge::{
    Aggregate, CacheConfig, Event, IntegrityRequest, JudgeConfig, LimitOverrides, Overrides,
    Problem, RowError, Submission,
};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, Sleep, sleep};

use crate::app::{App, Caller, HeldBody, Rejection, detail};
use crate::body::{BadBody, Body, list};
use crate::dispatch::Queued;
use crate::fusion::in_full;
use crate::queue::Client;

/// Lines ready and not yet sent.
const LINES_AHEAD: usize = 256;
/// When to come again after a 429, in seconds.
const RETRY_AFTER_S: u64 = 1;

/// What a call may choose; what it leaves out is as in `codejury judge`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    compare: Option<String>,
    limits: LimitOverrides,
    source_limits: bool,
    aggregate: Aggregate,
    max_timeouts: Option<u32>,
    stop_after_failures: Option<u32>,
    integrity: IntegrityRequest,
    network: NetworkWord,
    extract: Option<String>,
    no_cache: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NetworkWord {
    #[default]
    None,
    Loopback,
}

/// A call whose every row is understood.
struct Call {
    submissions: Vec<Submission>,
    config: JudgeConfig,
}

/// Answers `POST /v1/judge`.
pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    axum::Extension(Caller(client)): axum::Extension<Caller>,
    request: Request,
) -> Response {
    // Before the body is read: a server with too much to do should not first take in more.
    if app.dispatch.queue.is_full() {
        return come_again("the queue is full");
    }
    let wait = Duration::from_secs_f64(app.config.judge.wait_s);
    let place = app.judge_calls.clone().acquire_owned();
    let Ok(Ok(permit)) = tokio::time::timeout(wait, place).await else {
        return come_again("too many calls are being judged");
    };
    let body = match app.body(request).await {
        Ok(body) => body,
        Err(Rejection::NoRoom) => return come_again("the server holds too many request bodies"),
        Err(other) => return other.into_response(),
    };
    let reading = app.clone();
    // A large batch takes a while to read; the async threads have others to serve.
    let read = tokio::task::spawn_blocking(move || read(&reading, &body)).await;
    match read {
        Ok(Ok(call)) => judge(&app, client, call, permit),
        Ok(Err(rejection)) => rejection.into_response(),
        Err(_) => detail(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request could not be read",
        ),
    }
}

fn come_again(why: &str) -> Response {
    let text = format!("{why}; try again");
    let mut response = detail(StatusCode::TOO_MANY_REQUESTS, &text);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    response
}

fn bad_row(place: &str, error: &RowError) -> Rejection {
    let text = match error.field.as_str() {
        "row" => format!("{place}: {}", error.reason),
        field => format!("{place}: field `{field}`: {}", error.reason),
    };
    Rejection::Detail(StatusCode::UNPROCESSABLE_ENTITY, text)
}

fn read(app: &App, body: &HeldBody) -> Result<Call, Rejection> {
    let unprocessable = |text: String| Rejection::Detail(StatusCode::UNPROCESSABLE_ENTITY, text);
    let mut body = Body::parse(&body.bytes)?;
    let rows = |raw: &RawValue, place: &mut crate::body::Place<'_>| {
        list(raw, place, |raw, _| Some(raw.to_owned()))
    };
    let problems: Option<Vec<Box<RawValue>>> = body.required("problems", rows);
    let completions: Option<Vec<Box<RawValue>>> = body.required("completions", rows);
    let options = body.raw("options").map(ToOwned::to_owned);
    body.finish()
        .map_err(|faults| Rejection::BadBody(BadBody::Faults(faults)))?;
    let (problems, completions) = (
        problems.unwrap_or_default(),
        completions.unwrap_or_default(),
    );
    let most = app.config.judge.max_submissions;
    if completions.len() > most || problems.len() > most {
        return Err(unprocessable(format!(
            "at most {most} problems and {most} completions fit into one call"
        )));
    }
    let (config, extract) = settings(app, options.as_deref()).map_err(unprocessable)?;
    let judge = app
        .judge
        .sharing(config.clone(), app.runners.python.clone());

    let mut by_id: HashMap<String, Arc<Problem>> = HashMap::new();
    for (index, row) in problems.iter().enumerate() {
        let place = format!("problems[{index}]");
        let problem = Problem::from_row(row.get()).map_err(|error| bad_row(&place, &error))?;
        judge
            .check(&problem)
            .map_err(|error| unprocessable(format!("{place}: {error}")))?;
        let problem = Arc::new(problem);
        for id in spellings(&problem.problem_id) {
            if by_id.insert(id, problem.clone()).is_some() {
                let id = &problem.problem_id;
                return Err(unprocessable(format!("{place}: {id:?} stands twice")));
            }
        }
    }
    let mut submissions = Vec::with_capacity(completions.len());
    let mut samples: HashMap<&str, Samples> = HashMap::new();
    for (index, row) in completions.iter().enumerate() {
        let place = format!("completions[{index}]");
        let row = CompletionRow::parse(row.get()).map_err(|error| bad_row(&place, &error))?;
        let Some((_, problem)) = by_id.get_key_value(row.problem_id()) else {
            let id = row.problem_id();
            return Err(unprocessable(format!(
                "{place}: no problem of this call is called {id:?}"
            )));
        };
        let sample = samples
            .entry(&problem.problem_id)
            .or_default()
            .next(row.sample());
        let Some(sample) = sample else {
            let (id, sample) = (&problem.problem_id, row.sample().unwrap_or_default());
            return Err(unprocessable(format!(
                "{place}: sample {sample} of {id:?} stands twice"
            )));
        };
        let answer = row
            .answer(problem, sample, extract)
            .map_err(|error| bad_row(&place, &error))?;
        submissions.push(answer.submission);
    }
    Ok(Call {
        submissions,
        config,
    })
}

/// The samples of one problem seen so far. Without a number, a sample is the next one.
#[derive(Default)]
struct Samples {
    seen: std::collections::HashSet<u32>,
    next: u32,
}

impl Samples {
    fn next(&mut self, stated: Option<u32>) -> Option<u32> {
        let sample = stated.unwrap_or(self.next);
        self.next += 1;
        self.seen.insert(sample).then_some(sample)
    }
}

fn settings(app: &App, options: Option<&RawValue>) -> Result<(JudgeConfig, ExtractRule), String> {
    let options: Options = match options {
        Some(raw) => serde_json::from_str(raw.get()).map_err(|error| {
            let text = error.to_string();
            format!(
                "options: {}",
                text.split(" at line ").next().unwrap_or(&text)
            )
        })?,
        None => Options::default(),
    };
    let compare = match &options.compare {
        Some(words) => Some(
            words
                .parse()
                .map_err(|error| format!("options.compare: {error}"))?,
        ),
        None => None,
    };
    let extract = match &options.extract {
        Some(word) => word
            .parse()
            .map_err(|error| format!("options.extract: {error}"))?,
        None => ExtractRule::Auto,
    };
    let default = JudgeConfig::default();
    let config = JudgeConfig {
        workers: app.runners.slots,
        flags: Overrides {
            compare,
            limits: options.limits,
        },
        source_limits: options.source_limits,
        aggregate: options.aggregate,
        max_timeouts: match options.max_timeouts {
            Some(0) => None,
            Some(most) => Some(most),
            None => default.max_timeouts,
        },
        stop_after_failures: options.stop_after_failures.filter(|most| *most > 0),
        integrity: options.integrity,
        network: match options.network {
            NetworkWord::None => Network::None,
            NetworkWord::Loopback => Network::Loopback,
        },
        cache: match &app.config.judge.cache_dir {
            _ if options.no_cache || app.config.judge.no_cache => CacheConfig::Off,
            Some(folder) => CacheConfig::Folder(folder.clone()),
            None => CacheConfig::Memory,
        },
        ..default
    };
    Ok((config, extract))
}

/// Starts judging and answers with the stream of its lines.
fn judge(app: &Arc<App>, client: Client, call: Call, permit: OwnedSemaphorePermit) -> Response {
    let cancel = match Cancel::new() {
        Ok(cancel) => cancel,
        Err(error) => return detail(StatusCode::INTERNAL_SERVER_ERROR, &in_full(&error)),
    };
    let (lines, sent) = mpsc::channel::<Bytes>(LINES_AHEAD);
    let keep_alive = Duration::from_secs_f64(app.config.judge.keep_alive_s);
    let switch = cancel.clone();
    let app = app.clone();
    let thread = std::thread::Builder::new().name("judge".into());
    let started = thread.spawn(move || {
        let _permit = permit;
        let line = judge_all(&app, client, call, &switch, &lines);
        let _ = lines.blocking_send(line);
    });
    if let Err(error) = started {
        return detail(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("cannot start a thread: {error}"),
        );
    }
    let stream = Lines {
        sent,
        keep_alive,
        silence: Box::pin(sleep(keep_alive)),
        _gone: CancelOnDrop(cancel),
    };
    let kind = HeaderValue::from_static("application/x-ndjson");
    let body = AnswerBody::new(StreamBody::new(stream));
    (StatusCode::OK, [(header::CONTENT_TYPE, kind)], body).into_response()
}

/// Judges everything, sends a line for each verdict, and returns the last line.
fn judge_all(
    app: &App,
    client: Client,
    call: Call,
    cancel: &Cancel,
    lines: &mpsc::Sender<Bytes>,
) -> Bytes {
    let runner = Queued {
        runner: app.runners.python.clone(),
        dispatch: app.dispatch.clone(),
        client,
    };
    let test_cases: usize = call
        .submissions
        .iter()
        .map(|submission| submission.problem.suite.test_count())
        .sum();
    let config = JudgeConfig {
        // A small call needs few threads.
        workers: call.config.workers.min(test_cases.max(1)),
        ..call.config
    };
    let judge = app.judge.sharing(config, Arc::new(runner));
    let (mut n, mut api_errors) = (0_u64, 0_u64);
    let mut sink = |event: Event<'_>| {
        let Event::SubmissionFinished { verdict, .. } = event else {
            return;
        };
        n += 1;
        api_errors += u64::from(verdict.error_type == judge::ErrorType::ApiError);
        app.metrics.judged(verdict);
        let mut row = verdict.to_row();
        row.push('\n');
        if lines.blocking_send(row.into()).is_err() {
            cancel.cancel();
        }
    };
    let result = judge.judge(call.submissions, &mut sink, Some(cancel));
    let mut last = match result {
        Ok(summary) if summary.abandoned == 0 && !cancel.is_cancelled() => {
            json!({ "done": true, "n": n, "api_errors": api_errors })
        }
        Ok(_) => json!({ "done": false, "n": n, "api_errors": api_errors, "error": "cancelled" }),
        Err(error) => {
            tracing::error!(error = in_full(&error), "a call of /v1/judge ended early");
            json!({ "done": false, "n": n, "api_errors": api_errors, "error": in_full(&error) })
        }
    }
    .to_string();
    last.push('\n');
    last.into()
}

/// The answer's body; ends the call's runs when it is dropped.
struct Lines {
    sent: mpsc::Receiver<Bytes>,
    /// Nothing was sent for so long: a blank line is.
    keep_alive: Duration,
    silence: Pin<Box<Sleep>>,
    _gone: CancelOnDrop,
}

struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl futures_core::Stream for Lines {
    type Item = Result<hyper::body::Frame<Bytes>, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let line = match self.sent.poll_recv(context) {
            Poll::Ready(Some(line)) => line,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {
                std::task::ready!(self.silence.as_mut().poll(context));
                Bytes::from_static(b"\n")
            }
        };
        let next = Instant::now() + self.keep_alive;
        self.silence.as_mut().reset(next);
        Poll::Ready(Some(Ok(hyper::body::Frame::data(line))))
    }
}
