//! HTTP for the hub: bodies as streams. No redirects are followed and nothing is tried again here: the caller, who
//! knows which host may see the token and what is worth another try, does both. Statuses are answers; `failure` tells of no answer at all.

use crate::ffi::HttpCall;
use crate::guard::guard;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{mpsc, Arc};
use std::time::Duration;

struct Shared {
    agent: ureq::Agent,
    sent: AtomicU64,
    stopped: AtomicBool,
}

pub struct HttpClient {
    shared: Arc<Shared>,
}

/// An answer that is on its way. Dropped before it came, it is given up.
pub struct PendingReply {
    receiver: mpsc::Receiver<Result<HttpReply, String>>,
    reply: Option<Result<HttpReply, String>>,
}

pub struct HttpReply {
    status: u16,
    failure: String,
    unreachable: bool,
    headers: Vec<(String, String)>,
    body: Option<Box<dyn Read + Send + Sync>>,
}

/// A client whose connections are made within 10 seconds, or the caller's limit if that is shorter, and are given up when nothing comes for `idle_seconds`.
/// A proxy is taken from HTTPS_PROXY, HTTP_PROXY and ALL_PROXY unless NO_PROXY names the host (the crate's own rule).
pub fn http_client(user_agent: &str, idle_seconds: u64) -> Result<Box<HttpClient>, String> {
    guard(|| {
        let idle = Duration::from_secs(idle_seconds.max(1));
        let agent = ureq::AgentBuilder::new()
            .redirects(0)
            .user_agent(user_agent)
            .timeout_connect(idle.min(Duration::from_secs(10)))
            .timeout_read(idle)
            .timeout_write(idle)
            .build();
        let shared = Shared { agent, sent: AtomicU64::new(0), stopped: AtomicBool::new(false) };
        Ok(Box::new(HttpClient { shared: Arc::new(shared) }))
    })
}

impl HttpClient {
    /// Begins a request on a thread of its own, so that the caller can listen for an interrupt; the answer is waited for with PendingReply.
    pub fn start(&self, call: HttpCall) -> Result<Box<PendingReply>, String> {
        guard(|| {
            let (sender, receiver) = mpsc::channel();
            let shared = self.shared.clone();
            std::thread::Builder::new()
                .name("http".to_string())
                .spawn(move || {
                    let _ = sender.send(guard(|| perform(&shared, &call)));
                })
                .map_err(|e| format!("cannot start a thread: {e}"))?;
            Ok(Box::new(PendingReply { receiver, reply: None }))
        })
    }

    /// Bytes of files handed to the network so far, over all requests.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Lets requests that send a file fail soon.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }
}

fn perform(shared: &Shared, call: &HttpCall) -> Result<HttpReply, String> {
    let mut request = shared.agent.request(&call.method, &call.url);
    for header in &call.headers {
        request = request.set(&header.name, &header.value);
    }
    if call.path.is_empty() {
        let bare = call.body.is_empty() && call.method != "POST" && call.method != "PUT";
        return Ok(reply_of(if bare { request.call() } else { request.send_bytes(&call.body) }));
    }
    let path = &call.path;
    let mut file = File::open(path).map_err(|e| format!("{path}: {e}"))?;
    file.seek(SeekFrom::Start(call.offset)).map_err(|e| format!("{path}: {e}"))?;
    let request = request.set("Content-Length", &call.length.to_string());
    Ok(reply_of(request.send(Counted { inner: file.take(call.length), shared })))
}

impl PendingReply {
    /// True once the answer is there, or will never be.
    pub fn wait(&mut self, milliseconds: u64) -> bool {
        if self.reply.is_none() {
            self.reply = match self.receiver.recv_timeout(Duration::from_millis(milliseconds)) {
                Ok(reply) => Some(reply),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => Some(Err("the request was lost".to_string())),
            };
        }
        self.reply.is_some()
    }

    pub fn take(&mut self) -> Result<Box<HttpReply>, String> {
        self.reply.take().unwrap_or_else(|| Err("no answer yet".to_string())).map(Box::new)
    }
}

struct Counted<'a> {
    inner: std::io::Take<File>,
    shared: &'a Shared,
}

impl Read for Counted<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        if self.shared.stopped.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("stopped"));
        }
        let count = self.inner.read(to)?;
        self.shared.sent.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

fn reply_of(answer: Result<ureq::Response, ureq::Error>) -> HttpReply {
    match answer {
        Ok(response) | Err(ureq::Error::Status(_, response)) => {
            let names = response.headers_names();
            let headers = names.into_iter().map(|name| { let value = response.header(&name).unwrap_or("").to_string(); (name, value) }).collect();
            let status = response.status();
            HttpReply { status, failure: String::new(), unreachable: false, headers, body: Some(response.into_reader()) }
        }
        Err(ureq::Error::Transport(error)) => {
            use ureq::ErrorKind::{ConnectionFailed, Dns, InvalidUrl, ProxyConnect, UnknownScheme};
            let unreachable = matches!(error.kind(), ConnectionFailed | Dns | InvalidUrl | ProxyConnect | UnknownScheme);
            HttpReply { status: 0, failure: reason(&error), unreachable, headers: Vec::new(), body: None }
        }
    }
}

/// What went wrong, without the URL: its query may be a signature.
fn reason(error: &ureq::Transport) -> String {
    let mut text = error.kind().to_string();
    if let Some(message) = error.message() {
        text = format!("{text}: {message}");
    }
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

impl HttpReply {
    /// 0: no answer came.
    pub fn status(&self) -> u16 {
        self.status
    }

    pub fn failure(&self) -> &str {
        &self.failure
    }

    /// No connection was made at all.
    pub fn unreachable(&self) -> bool {
        self.unreachable
    }

    /// A header's first value, empty if there is none; names in lower case.
    pub fn header(&self, name: &str) -> String {
        self.headers.iter().find(|(known, _)| known == name).map_or(String::new(), |(_, value)| value.clone())
    }

    /// Some more bytes of the body; 0 at its end. An error for a body that ends before its announced length.
    pub fn read(&mut self, to: &mut [u8]) -> Result<usize, String> {
        guard(|| match self.body.as_mut() {
            Some(body) => body.read(to).map_err(|error| error.to_string()),
            None => Ok(0),
        })
    }
}

/// `location` as seen from `base`: absolute.
pub fn join_url(base: &str, location: &str) -> Result<String, String> {
    guard(|| {
        let base = url::Url::parse(base).map_err(|e| e.to_string())?;
        let joined = base.join(location).map_err(|e| e.to_string())?;
        Ok(joined.to_string())
    })
}

/// Scheme, host and port of a URL: "https://host:443".
pub fn url_origin(text: &str) -> Result<String, String> {
    guard(|| {
        let parsed = url::Url::parse(text).map_err(|e| e.to_string())?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().unwrap_or("").is_empty() {
            return Err("expected http:// or https:// and a host".to_string());
        }
        let port = parsed.port_or_known_default().unwrap_or(0);
        Ok(format!("{}://{}:{}", parsed.scheme(), parsed.host_str().unwrap_or(""), port))
    })
}

pub struct Digest {
    context: ring::digest::Context,
}

/// SHA-256 (FIPS 180-4), fed piece by piece.
pub fn sha256() -> Box<Digest> {
    Box::new(Digest { context: ring::digest::Context::new(&ring::digest::SHA256) })
}

/// SHA-1, which git names its blobs by. Nothing rests on it but that a download is whole.
pub fn sha1() -> Box<Digest> {
    Box::new(Digest { context: ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY) })
}

impl Digest {
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// Of what came so far, in hexadecimal.
    pub fn hex(&self) -> String {
        self.context.clone().finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
