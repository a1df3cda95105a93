//! A server and plain sockets: what the transport answers by itself, and what it tells of clients that go away.

use super::bridge::ffi::{Field, ServerOptions};
use super::bridge::{http_server, HttpServer};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

fn options() -> ServerOptions {
    ServerOptions {
        address: "127.0.0.1:0".into(),
        unix_socket: String::new(),
        tls_certificate: String::new(),
        tls_key: String::new(),
        keys: vec![],
        admin_keys: vec![],
        open_paths: vec!["GET /health".into()],
        admin_paths: vec!["/admin/*".into()],
        plain_error_paths: vec!["/generate".into()],
        upload_paths: vec![],
        cors_origins: vec![],
        access_log: String::new(),
        max_body: 1000,
        max_upload: 1000,
        max_connections: 100,
        header_seconds: 5,
        body_seconds: 1,
        comment_seconds: 15,
    }
}

fn connect(server: &HttpServer) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// All of what comes back when `text` is sent and the connection is to be closed.
fn ask(server: &HttpServer, text: &str) -> String {
    let mut stream = connect(server);
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{more}\r\n")
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn next(server: &HttpServer, kind: u8) -> u64 {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        let event = server.next(100);
        if event.kind == kind {
            return event.id;
        }
    }
    panic!("no event {kind}");
}

#[test]
fn a_request_is_answered() {
    let server = http_server(options()).unwrap();
    let mut stream = connect(&server);
    stream.write_all(post("/a/b?c=d", "body").as_bytes()).unwrap();
    let id = next(&server, 1);
    let request = server.request(id).unwrap();
    assert_eq!((request.method.as_str(), request.path.as_str(), request.query.as_str()), ("POST", "/a/b", "c=d"));
    assert_eq!((request.body.as_slice(), request.client.as_str()), (&b"body"[..], "127.0.0.1"));
    assert!(server.reply(id, 201, &[Field { name: "x-a".into(), value: "b".into() }], b"done"));
    assert!(!server.reply(id, 200, &[], b"again"));
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 201 ") && answer.contains("x-a: b") && answer.ends_with("\r\n\r\ndone"),
        "{answer}"
    );
    assert!(server.request(id).is_err());
}

#[test]
fn streams_come_as_they_are_sent() {
    let server = http_server(options()).unwrap();
    let mut stream = connect(&server);
    stream.write_all(get("/", "").as_bytes()).unwrap();
    let id = next(&server, 1);
    assert!(server.begin_stream(id, 200, &[]));
    assert!(server.send(id, b"data: 1\n\n"));
    let mut part = [0; 1000];
    let mut seen = String::new();
    while !seen.contains("data: 1") {
        let size = stream.read(&mut part).unwrap();
        seen.push_str(std::str::from_utf8(&part[..size]).unwrap());
    }
    server.end(id);
    stream.read_to_string(&mut seen).unwrap();
    assert!(seen.ends_with("0\r\n\r\n"), "{seen}");
    assert_eq!(server.next(200).kind, 0, "a complete stream is not told as gone");
}

#[test]
fn clients_that_go_are_told() {
    let server = http_server(options()).unwrap();
    for streamed in [false, true] {
        let mut stream = connect(&server);
        stream.write_all(get("/", "").as_bytes()).unwrap();
        let id = next(&server, 1);
        if streamed {
            assert!(server.begin_stream(id, 200, &[]) && server.send(id, b"a"));
        }
        stream.shutdown(Shutdown::Both).unwrap();
        drop(stream);
        assert_eq!(next(&server, 2), id);
        assert!(!server.send(id, b"b"));
    }
}

#[test]
fn slow_readers_are_given_up() {
    let server = http_server(options()).unwrap();
    let mut stream = connect(&server);
    stream.write_all(get("/", "").as_bytes()).unwrap();
    let id = next(&server, 1);
    assert!(server.begin_stream(id, 200, &[]));
    let piece = vec![b'a'; 1 << 16];
    let sent = (0..1000).take_while(|_| server.send(id, &piece)).count();
    assert!(sent < 1000, "64 MB wait for nobody");
}

#[test]
fn keys_are_asked_for() {
    let server = http_server(ServerOptions { keys: vec!["one".into(), "two".into()], ..options() }).unwrap();
    let wrong = ask(&server, &get("/v1/models", "authorization: Bearer on\r\n"));
    assert!(wrong.starts_with("HTTP/1.1 401 ") && wrong.contains("authentication_error"), "{wrong}");
    assert!(ask(&server, &get("/v1/models", "")).starts_with("HTTP/1.1 401 "));
    assert!(ask(&server, &get("/generate", "")).contains(r#""error":"a key is missing or wrong""#));
    assert!(ask(&server, &post("/health", "")).starts_with("HTTP/1.1 401 "));
    for (path, more) in [("/health", ""), ("/x", "authorization: Bearer two\r\n"), ("/x", "X-Api-Key: one\r\n")] {
        let mut stream = connect(&server);
        stream.write_all(get(path, more).as_bytes()).unwrap();
        next(&server, 1);
    }
    server.set_keys(&["three".into()], &["boss".into()]);
    assert!(ask(&server, &get("/x", "authorization: Bearer one\r\n")).starts_with("HTTP/1.1 401 "));
    assert!(ask(&server, &get("/admin/a", "authorization: Bearer three\r\n")).starts_with("HTTP/1.1 401 "));
}

#[test]
fn bodies_have_limits() {
    let server = http_server(options()).unwrap();
    let large = ask(&server, &post("/v1/completions", &"a".repeat(1001)));
    assert!(large.starts_with("HTTP/1.1 413 ") && large.contains("body_too_large"), "{large}");
    let chunk = format!("300\r\n{}\r\n", "a".repeat(0x300));
    let chunked = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"
    );
    assert!(ask(&server, &chunked).starts_with("HTTP/1.1 413 "));
    let late = ask(&server, "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 9\r\n\r\nab");
    assert!(late.starts_with("HTTP/1.1 408 "), "{late}");
    assert!(ask(&server, "GET / HTTP/9.9\r\n\r\n").starts_with("HTTP/1.1 400 "));
}

#[test]
fn a_drained_server_refuses_and_ends() {
    let server = http_server(options()).unwrap();
    let mut open = connect(&server);
    open.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let id = next(&server, 1);
    assert_eq!(server.active(), 1);
    server.drain();
    assert!(server.reply(id, 200, &[], b"kept"));
    let mut answer = [0; 1000];
    let size = open.read(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer[..size]).ends_with("kept"));
    let end = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(server.address()).is_ok() {
        assert!(Instant::now() < end, "connections are still taken");
    }
    while server.active() > 0 {
        assert!(Instant::now() < end, "an answer that left is still counted");
    }
}

#[test]
fn pages_of_other_origins_may_read_where_they_are_named() {
    let server = http_server(ServerOptions { cors_origins: vec!["http://a.b".into()], ..options() }).unwrap();
    let asked = |origin: &str| {
        ask(
            &server,
            &format!("OPTIONS /v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\norigin: {origin}\r\n\r\n"),
        )
    };
    assert!(asked("http://a.b").contains("access-control-allow-origin: http://a.b"));
    assert!(!asked("http://evil").contains("access-control-allow-origin"));
}
