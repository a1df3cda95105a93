//! One request on its way in: what the transport refuses by itself, its body within limits, and the answer's way out.

use super::access_log::Entry;
use super::body::{ReplyBody, Watch};
use super::bridge::ffi::{Field, ServerRequest};
use super::exchange::{Content, Head, Shared};
use super::options::{allowed_origin, key_digest, matches};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue, CONNECTION, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// What is read of a body that is refused, so that its sender comes to read why.
const MOST_DISCARDED: u64 = 64 << 20;
const DISCARD_FOR: Duration = Duration::from_secs(10);

type Answer = Response<ReplyBody>;

struct Refusal {
    status: u16,
    kind: &'static str,
    code: &'static str,
    message: String,
}

fn refusal(status: u16, kind: &'static str, code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { status, kind, code, message: message.into() }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The key of "Authorization: Bearer KEY" or "X-Api-Key: KEY".
fn key_of(headers: &HeaderMap) -> Option<&str> {
    let bearer = text_of(headers, "authorization").and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| text_of(headers, "x-api-key"))
}

/// The refusal as TGI's clients or as OpenAI's read it.
fn refused(shared: &Shared, parts: &Parts, refusal: &Refusal) -> Head {
    let body = if matches(&shared.options.plain_error_paths, parts.method.as_str(), parts.uri.path()) {
        let kind = match refusal.status {
            429 | 503 => "overloaded",
            _ => "validation",
        };
        json!({"error": refusal.message, "error_type": kind})
    } else {
        json!({"error": {"message": refusal.message, "type": refusal.kind, "param": null, "code": refusal.code}})
    };
    let mut headers = vec![field("content-type", "application/json")];
    match refusal.status {
        401 => headers.push(field("www-authenticate", "Bearer")),
        503 => headers.push(field("retry-after", "5")),
        _ => {}
    }
    Head { status: refusal.status, headers, body: Content::Whole(Bytes::from(body.to_string())) }
}

fn field(name: &str, value: &str) -> Field {
    Field { name: name.to_owned(), value: value.to_owned() }
}

/// What needs no look at the body.
fn check_head(shared: &Shared, parts: &Parts, length: Option<u64>) -> Result<u64, Refusal> {
    let (options, method, path) = (&shared.options, parts.method.as_str(), parts.uri.path());
    let is_open = matches(&options.open_paths, method, path);
    if shared.is_draining() && !is_open {
        return Err(refusal(503, "unavailable_error", "shutting_down", "the server is shutting down"));
    }
    let for_admin = matches(&options.admin_paths, method, path);
    if !is_open && !shared.allows(key_of(&parts.headers), for_admin) {
        let message = if for_admin { "this path needs an administrator's key" } else { "a key is missing or wrong" };
        return Err(refusal(401, "authentication_error", "invalid_api_key", message));
    }
    let most = if matches(&options.upload_paths, method, path) { options.max_upload } else { options.max_body };
    match length {
        Some(length) if length > most => Err(too_large(most)),
        _ => Ok(most),
    }
}

fn too_large(most: u64) -> Refusal {
    refusal(413, "invalid_request_error", "body_too_large", format!("the body is larger than {most} bytes"))
}

async fn read_body(body: &mut Incoming, most: u64, seconds: u64) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                refusal(400, "invalid_request_error", "broken_body", "the body ends before it is complete")
            })?;
            if let Some(data) = frame.data_ref() {
                if (bytes.len() + data.len()) as u64 > most {
                    return Err(too_large(most));
                }
                bytes.extend_from_slice(data);
            }
        }
        Ok(())
    };
    match timeout(Duration::from_secs(seconds), reading).await {
        Ok(result) => result.map(|()| bytes),
        Err(_) => Err(refusal(408, "invalid_request_error", "request_timeout", "the body did not come in time")),
    }
}

/// Reads what is left of a body while the refusal leaves.
fn discard(mut body: Incoming) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(timeout(DISCARD_FOR, async move {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, |data| data.len() as u64);
            if seen > MOST_DISCARDED {
                break;
            }
        }
    }));
}

fn request_of(parts: &Parts, body: Vec<u8>, peer: &str) -> ServerRequest {
    let headers = parts.headers.iter().filter(|(name, _)| *name != "authorization" && *name != "x-api-key");
    let client = match key_of(&parts.headers) {
        Some(key) => key_digest(key)[..8].iter().map(|byte| format!("{byte:02x}")).collect(),
        None => peer.to_owned(),
    };
    ServerRequest {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: headers
            .map(|(name, value)| field(name.as_str(), &String::from_utf8_lossy(value.as_bytes())))
            .collect(),
        body,
        client,
    }
}

fn preflight(parts: &Parts) -> Head {
    let asked = text_of(&parts.headers, "access-control-request-headers").unwrap_or("content-type, authorization");
    let headers = vec![
        field("access-control-allow-methods", "GET, POST, DELETE, OPTIONS"),
        field("access-control-allow-headers", asked),
        field("access-control-max-age", "600"),
    ];
    Head { status: 204, headers, body: Content::Whole(Bytes::new()) }
}

fn answer(shared: &Shared, head: Head, parts: &Parts, mut watch: Watch) -> Answer {
    watch.entry.status = head.status;
    let comment = Duration::from_secs(shared.options.comment_seconds.max(1));
    let mut response = Response::new(ReplyBody::new(head.body, comment, watch));
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    for Field { name, value } in &head.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    for name in ["x-request-id", "traceparent", "tracestate"] {
        if let Some(value) = parts.headers.get(name) {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    if let Some(origin) = allowed_origin(&shared.options, text_of(&parts.headers, ORIGIN.as_str())) {
        if let Ok(value) = HeaderValue::from_str(&origin) {
            headers.insert("access-control-allow-origin", value);
            headers.insert("vary", HeaderValue::from_static("origin"));
            headers.insert("access-control-expose-headers", HeaderValue::from_static("*"));
        }
    }
    if shared.is_draining() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Answers one request. Dropped on the way, as when the client goes, it is told to C++ by its Watch.
pub async fn serve(shared: Arc<Shared>, request: Request<Incoming>, peer: Arc<str>) -> Result<Answer, Infallible> {
    let (parts, mut body) = request.into_parts();
    let mut entry = Entry::new(parts.method.as_str(), parts.uri.path(), &peer);
    for name in ["x-request-id", "traceparent"] {
        if let Some(value) = text_of(&parts.headers, name) {
            entry.members.insert(name.replace('-', "_"), value.into());
        }
    }
    let mut watch = Watch::new(shared.clone(), entry);
    if parts.method == Method::OPTIONS && !shared.options.cors_origins.is_empty() {
        return Ok(answer(&shared, preflight(&parts), &parts, watch));
    }
    let read = match check_head(&shared, &parts, body.size_hint().exact()) {
        Ok(most) => read_body(&mut body, most, shared.options.body_seconds).await,
        Err(refusal) => Err(refusal),
    };
    let head = match read {
        Ok(bytes) => {
            let (id, head) = shared.begin(request_of(&parts, bytes, &peer), watch.notes.clone());
            watch.id = id;
            head.await.unwrap_or_else(|_| {
                let lost = refusal(500, "server_error", "internal", "the request was lost");
                refused(&shared, &parts, &lost)
            })
        }
        Err(refusal) => {
            if refusal.status != 408 {
                discard(body);
            }
            refused(&shared, &parts, &refusal)
        }
    };
    Ok(answer(&shared, head, &parts, watch))
}
