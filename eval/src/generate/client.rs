//! One request to a server that speaks the OpenAI protocol, and what can become of it.
//!
//! Every answer is streamed: a server that was told to end leaves its clients with an open, silent
//! socket, and only a stream shows the difference between a long answer and none. An answer counts
//! only if it ended with `stop` or `length`; an error event, an abort or a cut connection under
//! status 200 is a failure like any other.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::config::{GeneratorConfig, Sampling, Style};
use crate::error::EvalError;

/// Below vLLM's five seconds after which it closes an idle connection.
const POOL_IDLE: Duration = Duration::from_secs(4);
/// For the small questions: models, health, tokens.
const SMALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of a server's message is kept.
const MESSAGE_CHARS: usize = 400;
/// No answer is larger; a stream that never ends must not fill memory.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Talks to one server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    /// Up to and including `/v1`.
    base: String,
    key: Option<String>,
    silence: Duration,
}

/// What is asked of a model.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) model: &'a str,
    pub(crate) style: Style,
    pub(crate) prompt: &'a str,
    pub(crate) sampling: &'a Sampling,
    pub(crate) max_tokens: u64,
    /// `None` at temperature 0.
    pub(crate) seed: Option<u64>,
    /// Where the answer ends; what the server does not take is cut here.
    pub(crate) stop: &'a [String],
    pub(crate) max_stop_strings: usize,
    /// Becomes part of the server's log.
    pub(crate) request_id: &'a str,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Generated {
    pub(crate) text: String,
    /// `stop` or `length`.
    pub(crate) finish_reason: String,
    pub(crate) stop_reason: Option<Value>,
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) gen_tokens: Option<u64>,
    pub(crate) seconds: f64,
    pub(crate) system_fingerprint: Option<String>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trouble {
    /// The prompt is longer than the model allows: this problem's own affair, never sent again.
    TooLong(String),
    /// The server refuses what we ask: our mistake, never sent again.
    Refused(String),
    /// Too much is queued: later.
    Busy(String),
    /// The connection or the engine failed: again, after a look at whether the server lives.
    Broken(String),
}

impl Trouble {
    /// The word for the row's `error`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "context_length",
            Self::Refused(_) => "request_refused",
            Self::Busy(_) => "server_busy",
            Self::Broken(_) => "server_failed",
        }
    }

    pub(crate) fn detail(&self) -> &str {
        match self {
            Self::TooLong(text) | Self::Refused(text) | Self::Busy(text) | Self::Broken(text) => {
                text
            }
        }
    }
}

/// A model that a server offers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) max_model_len: Option<u64>,
}

impl Client {
    /// A client of the server whose address up to `/v1` is given.
    ///
    /// # Errors
    ///
    /// The address is none, or the key cannot be sent.
    pub(crate) fn new(base: &str, config: &GeneratorConfig) -> Result<Self, EvalError> {
        let url = reqwest::Url::parse(base).map_err(|error| {
            EvalError::invalid(format!("{base:?} is no address: {error}"))
                .hint("for example http://127.0.0.1:8000/v1")
        })?;
        // Only the first call installs it; all of ours are the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs_f64(config.connect_timeout_s))
            .pool_idle_timeout(POOL_IDLE)
            .user_agent(concat!("codejury/", env!("CARGO_PKG_VERSION")));
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let loopback = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        if loopback {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| EvalError::failed(format!("cannot make an HTTP client: {error}")))?;
        let key = match config.api_key_env.as_str() {
            "" => None,
            name => Some(std::env::var(name).map_err(|_| {
                EvalError::invalid(format!(
                    "generator.api_key_env names {name}, which is not set"
                ))
            })?),
        };
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            key,
            silence: Duration::from_secs_f64(config.silence_timeout_s),
        })
    }

    /// The address up to `/v1`.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The address without `/v1`, where vLLM has `/health` and `/tokenize`.
    fn root(&self) -> &str {
        self.base.strip_suffix("/v1").unwrap_or(&self.base)
    }

    fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Whether the server says that its engine works. `None` if it has no such page, or is too busy
    /// to answer.
    ///
    /// # Errors
    ///
    /// Nobody answers.
    pub(crate) async fn healthy(&self) -> Result<Option<bool>, Trouble> {
        let request = self.http.get(format!("{}/health", self.root()));
        let response = self
            .authorized(request)
            .timeout(Duration::from_secs(10))
            .send()
            .await;
        let response = match response {
            Err(error) if error.is_timeout() => return Ok(None),
            response => response.map_err(broken)?,
        };
        Ok(match response.status().as_u16() {
            200..=299 => Some(true),
            404 | 405 => None,
            _ => Some(false),
        })
    }

    /// The models that the server offers.
    ///
    /// # Errors
    ///
    /// Nobody answers, or not with a list of models.
    pub(crate) async fn models(&self) -> Result<Vec<Served>, Trouble> {
        let request = self.http.get(format!("{}/models", self.base));
        let response = self
            .authorized(request)
            .timeout(SMALL_TIMEOUT)
            .send()
            .await
            .map_err(broken)?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(broken)?;
        if status != 200 {
            return Err(refusal(status, &body));
        }
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|error| Trouble::Broken(format!("/models is no JSON: {error}")))?;
        let models = answer["data"].as_array();
        let models = models.ok_or_else(|| Trouble::Refused("/models lists no models".into()))?;
        let served = models.iter().filter_map(|model| {
            Some(Served {
                name: model["id"].as_str()?.to_owned(),
                max_model_len: model["max_model_len"].as_u64(),
            })
        });
        Ok(served.collect())
    }

    /// How many tokens a prompt has, and how many the model takes; `None` if the server does not
    /// count.
    ///
    /// # Errors
    ///
    /// Nobody answers.
    pub(crate) async fn count_tokens(
        &self,
        model: &str,
        style: Style,
        prompt: &str,
    ) -> Result<Option<(u64, Option<u64>)>, Trouble> {
        let body = match style {
            Style::Chat => json!({
                "model": model,
                "messages": [{"role": "user", "content": prompt}],
                "add_generation_prompt": true,
            }),
            Style::Completion => json!({"model": model, "prompt": prompt}),
        };
        let request = self.http.post(format!("{}/tokenize", self.root()));
        let response = self
            .authorized(request)
            .json(&body)
            .timeout(SMALL_TIMEOUT)
            .send()
            .await
            .map_err(broken)?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(broken)?;
        if status >= 500 {
            return Err(refusal(status, &body));
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let counted = (status == 200)
            .then(|| answer["count"].as_u64())
            .flatten()
            .map(|count| (count, answer["max_model_len"].as_u64()));
        Ok(counted)
    }

    /// Sends one request and reads its answer to the end.
    ///
    /// # Errors
    ///
    /// There is no whole answer, and why.
    pub(crate) async fn generate(&self, ask: &Ask<'_>) -> Result<Generated, Trouble> {
        let begun = Instant::now();
        let path = match ask.style {
            Style::Chat => "chat/completions",
            Style::Completion => "completions",
        };
        let request = self
            .http
            .post(format!("{}/{path}", self.base))
            .header("X-Request-Id", ask.request_id)
            .json(&body_of(ask));
        // The time in the server's queue is part of this silence.
        let sent = self.heard(self.authorized(request).send()).await?;
        let mut response = sent.map_err(broken)?;
        let status = response.status().as_u16();
        let streamed = response
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        let mut answer = Reader::default();
        let mut plain = Vec::new();
        loop {
            let chunk = self.heard(response.chunk()).await?.map_err(broken)?;
            let Some(chunk) = chunk else { break };
            if status == 200 && streamed {
                answer.read(&chunk)?;
            } else {
                plain.extend_from_slice(&chunk);
            }
            let held = plain.len() + answer.pending.len() + answer.text.len();
            if held > MAX_ANSWER_BYTES {
                return Err(Trouble::Broken("the answer never ends".into()));
            }
        }
        if status != 200 {
            return Err(refusal(status, &plain));
        }
        if !streamed {
            answer.plain(&plain)?;
        }
        let mut generated = answer.finish()?;
        generated.seconds = begun.elapsed().as_secs_f64();
        cut(&mut generated, ask.stop);
        Ok(generated)
    }

    /// Waits for the server, but not for ever.
    async fn heard<T>(&self, wait: impl Future<Output = T>) -> Result<T, Trouble> {
        tokio::time::timeout(self.silence, wait).await.map_err(|_| {
            Trouble::Broken(format!(
                "the server was silent for {} s",
                self.silence.as_secs_f64()
            ))
        })
    }
}

fn body_of(ask: &Ask<'_>) -> Value {
    let sampling = ask.sampling;
    let mut body = Map::new();
    body.insert("model".into(), ask.model.into());
    match ask.style {
        Style::Chat => body.insert(
            "messages".into(),
            json!([{"role": "user", "content": ask.prompt}]),
        ),
        Style::Completion => body.insert("prompt".into(), ask.prompt.into()),
    };
    // Every field: what is left out, the checkpoint's generation_config.json decides.
    let fields = json!({
        "stream": true,
        "stream_options": {"include_usage": true},
        "n": 1,
        "max_tokens": ask.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
    });
    if let Value::Object(fields) = fields {
        body.extend(fields);
    }
    if let Some(seed) = ask.seed {
        body.insert("seed".into(), seed.into());
    }
    let sent = &ask.stop[..ask.stop.len().min(ask.max_stop_strings)];
    if !sent.is_empty() {
        body.insert("stop".into(), json!(sent));
    }
    Value::Object(body)
}

/// Cuts the text before the first stop string, also those that the server was not told of, so that
/// every server gives the same text.
fn cut(generated: &mut Generated, stop: &[String]) {
    let first = stop
        .iter()
        .filter_map(|stop| Some((generated.text.find(stop.as_str())?, stop)))
        .min_by_key(|(at, _)| *at);
    if let Some((at, stop)) = first {
        generated.text.truncate(at);
        generated.finish_reason = "stop".into();
        generated.stop_reason = Some(stop.clone().into());
    }
}

fn broken(error: reqwest::Error) -> Trouble {
    // The chain says what the system said; the address in it is noise.
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    Trouble::Broken(shorten(&text))
}

/// What a status other than 200 means.
fn refusal(status: u16, body: &[u8]) -> Trouble {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &parsed["error"];
    let message = error["message"]
        .as_str()
        .or_else(|| error.as_str())
        .or_else(|| parsed["detail"].as_str())
        .map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    let text = format!("{status}: {}", shorten(&message));
    let too_long = error["param"].as_str() == Some("input_tokens")
        || message.contains("maximum context length")
        || message.contains("context length is only");
    match status {
        400 | 413 | 422 if too_long => Trouble::TooLong(text),
        429 | 503 => Trouble::Busy(text),
        400..=499 => Trouble::Refused(text),
        _ => Trouble::Broken(text),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// An answer while its events come in.
#[derive(Default)]
struct Reader {
    /// Bytes of an event that is not whole yet.
    pending: Vec<u8>,
    text: String,
    finish_reason: Option<String>,
    stop_reason: Option<Value>,
    usage: (Option<u64>, Option<u64>),
    system_fingerprint: Option<String>,
}

impl Reader {
    fn read(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.pending.extend_from_slice(bytes);
        while let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            // Comments, event names and blank lines say nothing here.
            let Some(data) = line.trim_end().strip_prefix("data:") else {
                continue;
            };
            match data.trim_start() {
                "[DONE]" | "" => {}
                data => self.event(data)?,
            }
        }
        Ok(())
    }

    fn event(&mut self, data: &str) -> Result<(), Trouble> {
        let event: Value = serde_json::from_str(data)
            .map_err(|error| Trouble::Broken(format!("an event is no JSON: {error}")))?;
        self.take(&event, |choice| {
            choice["delta"]["content"]
                .as_str()
                .or_else(|| choice["text"].as_str())
        })
    }

    /// An answer that was not streamed, from a server that cannot.
    fn plain(&mut self, body: &[u8]) -> Result<(), Trouble> {
        let answer: Value = serde_json::from_slice(body)
            .map_err(|error| Trouble::Broken(format!("the answer is no JSON: {error}")))?;
        self.take(&answer, |choice| {
            choice["message"]["content"]
                .as_str()
                .or_else(|| choice["text"].as_str())
        })
    }

    fn take(&mut self, part: &Value, text: impl Fn(&Value) -> Option<&str>) -> Result<(), Trouble> {
        if !part["error"].is_null() {
            // A failure in mid-stream comes under status 200.
            let status = part["error"]["code"].as_u64().unwrap_or(500) as u16;
            return Err(refusal(status, part.to_string().as_bytes()));
        }
        if let Some(usage) = part["usage"].as_object() {
            let count = |name: &str| usage.get(name).and_then(Value::as_u64);
            self.usage = (count("prompt_tokens"), count("completion_tokens"));
        }
        if let Some(fingerprint) = part["system_fingerprint"].as_str() {
            self.system_fingerprint = Some(fingerprint.to_owned());
        }
        for choice in part["choices"].as_array().into_iter().flatten() {
            if choice["index"].as_u64().unwrap_or(0) != 0 {
                return Err(Trouble::Broken("more choices than were asked for".into()));
            }
            if let Some(text) = text(choice) {
                self.text += text;
            }
            if let Some(reason) = choice["finish_reason"].as_str() {
                if self.finish_reason.is_some() {
                    return Err(Trouble::Broken("a choice ended twice".into()));
                }
                self.finish_reason = Some(reason.to_owned());
                let stop = &choice["stop_reason"];
                self.stop_reason = Some(stop.clone()).filter(|stop| !stop.is_null());
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Generated, Trouble> {
        match self.finish_reason.as_deref() {
            Some("stop" | "length") => {}
            Some(other) => {
                return Err(Trouble::Broken(format!("the answer ended with {other:?}")));
            }
            None => return Err(Trouble::Broken("the answer was cut off".into())),
        }
        Ok(Generated {
            text: self.text,
            finish_reason: self.finish_reason.unwrap_or_default(),
            stop_reason: self.stop_reason,
            prompt_tokens: self.usage.0,
            gen_tokens: self.usage.1,
            seconds: 0.0,
            system_fingerprint: self.system_fingerprint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::serve::try_out;

    #[test]
    fn a_text_is_cut_at_the_first_stop_string_whoever_knew_it() {
        let stops = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"].map(str::to_owned);
        let cases = [
            ("    return 1\n", "    return 1\n", "length"),
            ("    return 1\nprint(f())\nif x:\n", "    return 1", "stop"),
            ("\ndef f():", "", "stop"),
        ];
        for (text, expected, reason) in cases {
            let mut generated = Generated {
                text: text.into(),
                finish_reason: "length".into(),
                ..Generated::default()
            };
            cut(&mut generated, &stops);
            assert_eq!(
                (generated.text.as_str(), generated.finish_reason.as_str()),
                (expected, reason)
            );
        }
    }

    #[test]
    fn events_may_be_split_anywhere() {
        let stream = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
            : a comment\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"größer\"},\"finish_reason\":\"stop\"}]}\n\n\
            data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
        for size in [1, 2, 3, 7, 1000] {
            let mut reader = Reader::default();
            for chunk in stream.as_bytes().chunks(size) {
                reader.read(chunk).expect("events");
            }
            let generated = reader.finish().expect("whole");
            assert_eq!(generated.text, "größer");
            assert_eq!(
                (generated.prompt_tokens, generated.gen_tokens),
                (Some(3), Some(2))
            );
        }
    }

    #[test]
    fn a_failure_is_told_by_its_kind() {
        let cases: [(u16, &str, &str); 10] = [
            (
                400,
                r#"{"error":{"message":"x","param":"input_tokens"}}"#,
                "context_length",
            ),
            (
                400,
                r#"{"error":{"message":"List should have at most 4 items","param":"body.stop"}}"#,
                "request_refused",
            ),
            (401, r#"{"error":"Unauthorized"}"#, "request_refused"),
            (404, r#"{"detail":"Not Found"}"#, "request_refused"),
            (405, "", "request_refused"),
            (
                422,
                r#"{"detail":[{"msg":"Field required"}]}"#,
                "request_refused",
            ),
            (429, "slow down", "server_busy"),
            (503, r#"{"error":{"message":"busy"}}"#, "server_busy"),
            (
                500,
                r#"{"error":{"message":"EngineCore"}}"#,
                "server_failed",
            ),
            (502, "<html>", "server_failed"),
        ];
        for (status, body, word) in cases {
            assert_eq!(
                refusal(status, body.as_bytes()).word(),
                word,
                "{status} {body}"
            );
        }
    }

    /// What becomes of an answer with this status.
    fn outcome(status: u16, streamed: bool, body: &[u8]) -> Result<Generated, Trouble> {
        if status != 200 {
            return Err(refusal(status, body));
        }
        let mut reader = Reader::default();
        match streamed {
            true => reader.read(body)?,
            false => reader.plain(body)?,
        }
        reader.finish()
    }

    #[test]
    fn what_real_servers_answered_is_taken_for_what_it_was() {
        let transcripts = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vllm-transcripts");
        let mut whole = 0;
        for version in ["0.16.0", "0.32.0"] {
            let Ok(files) = std::fs::read_dir(format!("{transcripts}/{version}")) else {
                assert!(std::env::var_os("CI").is_none(), "CI skips nothing");
                eprintln!("skipped: {transcripts}/{version} is not there");
                return;
            };
            for file in files.map(|file| file.expect("listed").path()) {
                let text = std::fs::read(&file).expect("read");
                let exchange: Value = serde_json::from_slice(&text).expect("JSON");
                let path = exchange["request"]["path"].as_str().expect("a path");
                let response = &exchange["response"];
                if !path.ends_with("/completions") || response.is_null() {
                    continue;
                }
                let name = exchange["name"].as_str().expect("a name");
                let status = response["status"].as_u64().expect("a status") as u16;
                let (streamed, body) = match (&response["sse_text"], &response["body_text"]) {
                    (Value::String(events), _) => (true, events.clone()),
                    (_, Value::String(text)) => (false, text.clone()),
                    _ => (false, response["body"].to_string()),
                };
                let several = [
                    "chat-n3",
                    "completion-many-prompts",
                    "n-20",
                    "stream-chat-n2",
                ];
                let failed = [
                    "enginekill",
                    "sigterm",
                    "pause-abort",
                    "dev-9-greedy-after-bad",
                ];
                let starts = |names: &[&str]| names.iter().any(|start| name.starts_with(start));
                let expected = match status {
                    _ if starts(&several) || starts(&failed) => "server_failed",
                    200 => "whole",
                    503 => "server_busy",
                    _ if name.ends_with("prompt-too-long") => "context_length",
                    // The newer version lowers it and says nothing.
                    _ if name == "err-max-tokens-over-context" => "context_length",
                    _ => "request_refused",
                };
                let outcome = outcome(status, streamed, body.as_bytes());
                let word = outcome.as_ref().map_or_else(Trouble::word, |_| "whole");
                assert_eq!(word, expected, "{version} {name}: {outcome:?}");
                if let Err(trouble) = &outcome
                    && body.contains("EngineCore encountered")
                {
                    // Also where it is said in the midst of a stream, under 200.
                    assert!(
                        trouble.detail().contains("EngineCore encountered"),
                        "{name}"
                    );
                }
                if let Ok(generated) = outcome {
                    whole += 1;
                    assert!(matches!(
                        generated.finish_reason.as_str(),
                        "stop" | "length"
                    ));
                    let counted = response["body"]["usage"]["completion_tokens"].as_u64();
                    assert!(
                        streamed || generated.gen_tokens == counted,
                        "{version} {name}"
                    );
                }
            }
        }
        assert!(whole > 90, "{whole} whole answers");
    }

    #[test]
    fn a_connection_that_the_server_is_about_to_close_is_not_used() {
        use std::io::{BufRead as _, BufReader, Write as _};
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let base = format!("http://{}/v1", listener.local_addr().expect("bound"));
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let mut out = stream.try_clone().expect("cloned");
                    for line in BufReader::new(stream).lines().map_while(Result::ok) {
                        if line.is_empty() {
                            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                            out.write_all(answer).expect("written");
                        }
                    }
                });
            }
        });
        let config = defaults();
        let client = Client::new(&base, &config.generator).expect("a client");
        runtime().block_on(async {
            // vLLM closes after five seconds; a request that crosses that is lost.
            for (idle_ms, connections) in [(0, 1), (500, 1), (4500, 2)] {
                tokio::time::sleep(Duration::from_millis(idle_ms)).await;
                assert_eq!(client.healthy().await, Ok(Some(true)));
                let accepted = accepted.load(Ordering::SeqCst);
                assert_eq!(accepted, connections, "after {idle_ms} ms");
            }
        });
    }

    #[test]
    fn a_server_that_takes_no_connection_is_left_long_before_it_counts_as_silent() {
        use std::net::{SocketAddr, TcpStream};
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = runtime().block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind(address).expect("a port");
            socket.listen(1).expect("listens").into_std().expect("ours")
        });
        let address = listener.local_addr().expect("bound");
        // Its queue gets full: who comes then is neither taken nor refused.
        let patience = Duration::from_millis(300);
        let connect = || TcpStream::connect_timeout(&address, patience).ok();
        let queue: Vec<TcpStream> = std::iter::from_fn(connect).take(100).collect();
        assert!(queue.len() < 100, "the queue is endless");
        let mut config = defaults();
        config.generator.connect_timeout_s = 0.3;
        config.generator.silence_timeout_s = 600.0;
        let base = format!("http://{address}/v1");
        let client = Client::new(&base, &config.generator).expect("a client");
        let asked = try_out(&client, "m", Style::Chat, &config.sampling);
        // The kernel gives up after half a minute.
        let bound = Duration::from_secs(20);
        let outcome = runtime()
            .block_on(async { tokio::time::timeout(bound, asked).await })
            .expect("is left before the kernel gives up");
        assert_eq!(outcome.expect_err("nobody answers").word(), "server_failed");
    }

    fn defaults() -> crate::config::EvalConfig {
        crate::config::EvalConfig::load(None, &[]).expect("the defaults")
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    }
}
