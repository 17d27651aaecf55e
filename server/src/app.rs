//! Paths, tokens, body limits, and what an error looks like on each surface.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::{Bytes, BytesMut};
use executor::MIB;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use judge::Judge;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::body::BadBody;
use crate::dispatch::{Dispatch, Refused};
use crate::fusion::{self, Languages, datasets};
use crate::metrics::{Metrics, Snapshot};
use crate::queue::Client;
use crate::serve::{Peer, Runners};
use crate::{ServeConfig, judge_calls};

/// Answers larger than this count as held bodies until they are sent.
const LARGE_ANSWER: usize = 64 * 1024;

/// Everything that requests share.
pub(crate) struct App {
    pub(crate) config: ServeConfig,
    pub(crate) runners: Runners,
    pub(crate) languages: Languages,
    pub(crate) dispatch: Dispatch,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) judge: Judge,
    /// Rows of the server's own folder.
    pub(crate) tables: datasets::Tables,
    /// Whether the interpreter has numpy; found out when it matters first.
    pub(crate) numpy: tokio::sync::OnceCell<bool>,
    /// One permit for each call of `/v1/judge` that may go on.
    pub(crate) judge_calls: Arc<Semaphore>,
    /// SHA-256 of the bearer token.
    pub(crate) token: Option<[u8; 32]>,
    pub(crate) bodies: BodyBudget,
    pub(crate) connections: Arc<AtomicUsize>,
    /// Set once the server drains; `/readyz` then says so.
    pub(crate) draining: std::sync::atomic::AtomicBool,
}

/// Every path with what answers it.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/run_code", post(run_code))
        .route("/run_jupyter", post(run_jupyter))
        .route("/submit", post(submit))
        .route(
            "/list_datasets",
            get(|| async { json_of(&datasets::list_datasets()) }),
        )
        .route("/list_ids", post(list_ids))
        .route("/get_prompts", post(get_prompts))
        .route("/get_prompt_by_id", post(get_prompt_by_id))
        .route("/get_metrics", post(get_metrics))
        .route("/get_metrics_function", post(get_metrics_function))
        .route("/v1/judge", post(judge_calls::handle))
        .route(
            "/v1/ping",
            get(|| async { json_answer(StatusCode::OK, "\"pong\"") }),
        )
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/", get(home))
        .fallback(|| async { detail(StatusCode::NOT_FOUND, "Not Found") })
        .method_not_allowed_fallback(|| async {
            detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

/// Who asks: attached to each request by [`guard`].
#[derive(Clone)]
pub(crate) struct Caller(pub(crate) Client);

/// Checks the token, names the caller, counts the answer.
async fn guard(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: axum::middleware::Next,
) -> Response {
    let begun = Instant::now();
    let path = known_path(request.uri().path());
    let open = matches!(path, "/healthz" | "/readyz");
    let response = if !open && !app.admits(request.headers()) {
        let mut response = detail(StatusCode::UNAUTHORIZED, "a bearer token is required");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        response
    } else {
        let caller = Caller(app.caller(&request));
        request.extensions_mut().insert(caller);
        let mut response = app.bodies.hold(next.run(request).await).await;
        response.headers_mut().insert(
            HeaderName::from_static("x-codejury-isolation"),
            HeaderValue::from_static(app.runners.python.isolation().as_str()),
        );
        response
    };
    app.metrics
        .answered(path, response.status().as_u16(), begun.elapsed());
    response
}

/// Metrics are kept by path; what nobody serves is one.
fn known_path(path: &str) -> &'static str {
    const KNOWN: [&str; 15] = [
        "/run_code",
        "/run_jupyter",
        "/submit",
        "/list_datasets",
        "/list_ids",
        "/get_prompts",
        "/get_prompt_by_id",
        "/get_metrics",
        "/get_metrics_function",
        "/v1/judge",
        "/v1/ping",
        "/healthz",
        "/readyz",
        "/metrics",
        "/",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == path)
        .unwrap_or("other")
}

impl App {
    /// Whether a request may come in. Compares digests, which tell nothing about the token by how
    /// long they take to differ.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = &self.token else {
            return true;
        };
        headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_first_chunk::<7>())
            .is_some_and(|(scheme, token)| {
                scheme.eq_ignore_ascii_case(b"bearer ")
                    && <[u8; 32]>::from(Sha256::digest(token.trim_ascii())) == *expected
            })
    }

    fn caller(&self, request: &Request) -> Client {
        if let Some(name) = &self.config.http.client_header
            && let Some(value) = request.headers().get(name.as_str())
            && let Ok(value) = value.to_str()
        {
            // Of a chain of proxies, the one who asked first.
            let first = value.split(',').next().unwrap_or(value).trim();
            return Client(first.chars().take(256).collect::<String>().into());
        }
        let peer = request.extensions().get::<Peer>();
        Client(peer.map_or_else(
            || "unknown".into(),
            |Peer(address)| address.to_string().into(),
        ))
    }

    /// Whether programs can import numpy.
    pub(crate) async fn has_numpy(&self, client: &Client) -> Result<bool, Refused> {
        let ask = || async {
            let code =
                &b"import importlib.util, sys\nsys.exit(importlib.util.find_spec('numpy') is None)"
                    [..];
            let request = fusion::RunCodeRequest::new(code, fusion::Language::PYTHON);
            let answer = fusion::run_code(fusion::For::new(self, client), request).await?;
            Ok(answer.status == fusion::RunStatus::Success)
        };
        self.numpy.get_or_try_init(ask).await.copied()
    }

    /// A request's whole body.
    pub(crate) async fn body(&self, request: Request) -> Result<HeldBody, Rejection> {
        let most = self.config.http.max_body_mib * MIB;
        let declared = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > most) {
            return Err(Rejection::TooLarge);
        }
        let deadline = Duration::from_secs_f64(self.config.http.body_timeout_s);
        let mut held = HeldBody {
            bytes: Bytes::new(),
            size: 0,
            budget: self.bodies.clone(),
        };
        let mut body = request.into_body();
        let read = async {
            let mut chunks = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else {
                    return Err(Rejection::Incomplete);
                };
                let Some(chunk) = frame.data_ref() else {
                    continue;
                };
                if (held.size + chunk.len()) as u64 > most {
                    return Err(Rejection::TooLarge);
                }
                if !self.bodies.take(chunk.len()) {
                    return Err(Rejection::NoRoom);
                }
                held.size += chunk.len();
                chunks.extend_from_slice(chunk);
            }
            Ok(chunks.freeze())
        };
        let bytes = tokio::time::timeout(deadline, read)
            .await
            .map_err(|_| Rejection::Slow)??;
        held.bytes = bytes;
        Ok(held)
    }
}

/// The bytes that all bodies together may hold.
#[derive(Clone)]
pub(crate) struct BodyBudget {
    used: Arc<AtomicUsize>,
    most: usize,
}

impl BodyBudget {
    pub(crate) fn new(most: u64) -> Self {
        Self {
            used: Arc::default(),
            most: usize::try_from(most).unwrap_or(usize::MAX),
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= self.most;
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Counts a large answer for as long as it is being sent, so that clients who take theirs slowly
    /// cannot fill memory.
    async fn hold(&self, response: Response) -> Response {
        let size = response.body().size_hint().exact().unwrap_or(0);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size <= LARGE_ANSWER {
            return response;
        }
        if !self.take(size) {
            return Rejection::NoRoom.into_response();
        }
        let (parts, body) = response.into_parts();
        let mut held = HeldBody {
            bytes: Bytes::new(),
            size,
            budget: self.clone(),
        };
        match body.collect().await {
            Ok(whole) => held.bytes = whole.to_bytes(),
            Err(error) => {
                return detail(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string());
            }
        }
        // Given back when the connection has written the last of it.
        Response::from_parts(parts, Body::from(Bytes::from_owner(held)))
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// A body that counts against the budget for as long as it is held.
pub(crate) struct HeldBody {
    pub(crate) bytes: Bytes,
    size: usize,
    budget: BodyBudget,
}

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// A request that is not carried out.
#[derive(Debug)]
pub(crate) enum Rejection {
    BadBody(BadBody),
    /// The body is over its limit.
    TooLarge,
    /// All bodies together are over theirs.
    NoRoom,
    /// The body did not come in time.
    Slow,
    /// The client broke off.
    Incomplete,
    Refused(Refused),
    /// Any other fault of the request, in the contract's words.
    Detail(StatusCode, String),
}

impl From<BadBody> for Rejection {
    fn from(bad: BadBody) -> Self {
        Self::BadBody(bad)
    }
}

impl From<Refused> for Rejection {
    fn from(why: Refused) -> Self {
        Self::Refused(why)
    }
}

impl IntoResponse for Rejection {
    /// As the SandboxFusion paths say it: too much load is 504, all that verl repeats.
    fn into_response(self) -> Response {
        let say = |code, text: &str| detail(code, text);
        match self {
            Self::BadBody(BadBody::Unreadable) => say(
                StatusCode::BAD_REQUEST,
                "There was an error parsing the body",
            ),
            Self::BadBody(BadBody::Faults(faults)) => {
                let body = json!({ "detail": faults }).to_string();
                json_answer(StatusCode::UNPROCESSABLE_ENTITY, body)
            }
            Self::TooLarge => say(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the request body is too large",
            ),
            Self::NoRoom => say(
                StatusCode::GATEWAY_TIMEOUT,
                "the server holds too many request bodies; try again",
            ),
            Self::Slow => say(
                StatusCode::REQUEST_TIMEOUT,
                "the request body did not arrive in time",
            ),
            Self::Incomplete => say(StatusCode::BAD_REQUEST, "the request body broke off"),
            Self::Refused(Refused::Full) => {
                say(StatusCode::GATEWAY_TIMEOUT, "the queue is full; try again")
            }
            Self::Refused(Refused::Waited) => say(
                StatusCode::GATEWAY_TIMEOUT,
                "no slot became free in time; try again",
            ),
            Self::Detail(code, text) => say(code, &text),
        }
    }
}

async fn run_code(
    State(app): State<Arc<App>>,
    axum::Extension(Caller(client)): axum::Extension<Caller>,
    request: Request,
) -> Result<Response, Rejection> {
    let body = app.body(request).await?;
    let request = fusion::RunCodeRequest::read(&body.bytes)?;
    let on = fusion::For::new(&app, &client);
    let response = fusion::run_code(on, request).await?;
    Ok(json_of(&response))
}

async fn run_jupyter(
    State(app): State<Arc<App>>,
    axum::Extension(Caller(client)): axum::Extension<Caller>,
    request: Request,
) -> Result<Response, Rejection> {
    let body = app.body(request).await?;
    let request = fusion::RunJupyterRequest::read(&body.bytes)?;
    let on = fusion::For::new(&app, &client);
    let response = fusion::run_jupyter(on, request).await?;
    Ok(json_of(&response))
}

async fn submit(
    State(app): State<Arc<App>>,
    axum::Extension(Caller(client)): axum::Extension<Caller>,
    request: Request,
) -> Result<Response, Rejection> {
    let body = app.body(request).await?;
    answer(datasets::submit(&app, &client, &body.bytes).await)
}

async fn list_ids(State(app): State<Arc<App>>, request: Request) -> Result<Response, Rejection> {
    let body = app.body(request).await?;
    answer(datasets::list(&app, &body.bytes, false))
}

async fn get_prompts(State(app): State<Arc<App>>, request: Request) -> Result<Response, Rejection> {
    let body = app.body(request).await?;
    answer(datasets::list(&app, &body.bytes, true))
}

async fn get_prompt_by_id(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Rejection> {
    let body = app.body(request).await?;
    answer(datasets::prompt_by_id(&app, &body.bytes))
}

async fn get_metrics(State(app): State<Arc<App>>, request: Request) -> Result<Response, Rejection> {
    let body = app.body(request).await?;
    answer(datasets::metrics(&body.bytes, false))
}

async fn get_metrics_function(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Rejection> {
    let body = app.body(request).await?;
    answer(datasets::metrics(&body.bytes, true))
}

fn answer(result: Result<impl serde::Serialize, datasets::Fault>) -> Result<Response, Rejection> {
    match result {
        Ok(value) => Ok(json_of(&value)),
        Err(datasets::Fault::Rejection(rejection)) => Err(rejection),
        Err(datasets::Fault::Exception(text)) => {
            Err(Rejection::Detail(StatusCode::INTERNAL_SERVER_ERROR, text))
        }
    }
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.draining.load(Ordering::Relaxed) {
        return detail(StatusCode::SERVICE_UNAVAILABLE, "draining");
    }
    if app.dispatch.queue.is_full() {
        return detail(StatusCode::SERVICE_UNAVAILABLE, "the queue is full");
    }
    "ready\n".into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let now = Snapshot {
        load: app.dispatch.queue.load(),
        connections: app.connections.load(Ordering::Relaxed),
        judge_calls: app.config.judge.max_calls - app.judge_calls.available_permits(),
        body_bytes: app.bodies.used(),
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.text(now)).into_response()
}

async fn home(State(app): State<Arc<App>>) -> Response {
    let text = format!(
        "<!doctype html><title>codejury</title><h1>codejury {}</h1>\
         <p>Isolation: {}. Interpreter: {}.</p>\
         <p>POST /run_code, /run_jupyter, /submit (the contract of SandboxFusion), POST /v1/judge; \
         GET /healthz, /readyz, /metrics.</p>",
        env!("CARGO_PKG_VERSION"),
        app.runners.python.isolation().as_str(),
        app.runners.python.interpreter().version,
    );
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

/// An answer of one JSON value.
pub(crate) fn json_of(value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => json_answer(StatusCode::OK, body),
        Err(error) => detail(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

pub(crate) fn json_answer(code: StatusCode, body: impl Into<Body>) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (code, [(header::CONTENT_TYPE, kind)], body.into()).into_response()
}

/// An error in the shape that the contract gives most of them.
pub(crate) fn detail(code: StatusCode, text: &str) -> Response {
    json_answer(code, json!({ "detail": Value::from(text) }).to_string())
}
