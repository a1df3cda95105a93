//! The server as C++ sees it. Every function may be called from any thread.

use super::exchange::{Reply, Shared};
use super::listen;
use crate::guard::guard;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[cxx::bridge(namespace = "swage::bridge")]
pub mod ffi {
    struct ServerOptions {
        address: String,
        unix_socket: String,
        tls_certificate: String,
        tls_key: String,
        keys: Vec<String>,
        admin_keys: Vec<String>,
        open_paths: Vec<String>,
        admin_paths: Vec<String>,
        plain_error_paths: Vec<String>,
        upload_paths: Vec<String>,
        cors_origins: Vec<String>,
        access_log: String,
        max_body: u64,
        max_upload: u64,
        max_connections: u64,
        header_seconds: u64,
        body_seconds: u64,
        comment_seconds: u64,
    }

    #[derive(Clone)]
    struct Field {
        name: String,
        value: String,
    }

    struct ServerRequest {
        method: String,
        path: String,
        query: String,
        headers: Vec<Field>,
        body: Vec<u8>,
        client: String,
    }

    /// kind 0: nothing came; 1: request `id` is there; 2: the client of request `id` is gone.
    struct ServerEvent {
        kind: u8,
        id: u64,
    }

    extern "Rust" {
        type HttpServer;
        fn http_server(options: ServerOptions) -> Result<Box<HttpServer>>;
        fn address(self: &HttpServer) -> String;
        fn next(self: &HttpServer, milliseconds: u64) -> ServerEvent;
        fn request(self: &HttpServer, id: u64) -> Result<ServerRequest>;
        fn reply(self: &HttpServer, id: u64, status: u16, headers: &Vec<Field>, body: &[u8]) -> bool;
        fn begin_stream(self: &HttpServer, id: u64, status: u16, headers: &Vec<Field>) -> bool;
        fn send(self: &HttpServer, id: u64, bytes: &[u8]) -> bool;
        fn end(self: &HttpServer, id: u64);
        fn note(self: &HttpServer, id: u64, name: &str, value_json: &str);
        fn set_keys(self: &HttpServer, keys: &Vec<String>, admin_keys: &Vec<String>);
        fn drain(self: &HttpServer);
        fn active(self: &HttpServer) -> u64;
        fn connections(self: &HttpServer) -> u64;
    }
}

pub struct HttpServer {
    shared: Arc<Shared>,
    events: Mutex<Receiver<ffi::ServerEvent>>,
    address: String,
    runtime: Option<listen::Running>,
}

/// Listens; errors name what could not be opened.
pub fn http_server(options: ffi::ServerOptions) -> Result<Box<HttpServer>, String> {
    guard(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let shared = Arc::new(Shared::new(options, sender)?);
        let (runtime, address) = listen::start(shared.clone())?;
        Ok(Box::new(HttpServer { shared, events: Mutex::new(receiver), address, runtime: Some(runtime) }))
    })
}

impl HttpServer {
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// The next event, waited for so long.
    pub fn next(&self, milliseconds: u64) -> ffi::ServerEvent {
        let nothing = ffi::ServerEvent { kind: 0, id: 0 };
        let Ok(events) = self.events.lock() else { return nothing };
        match events.recv_timeout(Duration::from_millis(milliseconds)) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => nothing,
        }
    }

    /// What was asked, once; an error if the client is gone by now.
    pub fn request(&self, id: u64) -> Result<ffi::ServerRequest, String> {
        guard(|| self.shared.take_request(id).ok_or_else(|| "the client is gone".to_owned()))
    }

    pub fn reply(&self, id: u64, status: u16, headers: &[ffi::Field], body: &[u8]) -> bool {
        self.shared.reply(id, Reply::whole(status, headers, body))
    }

    pub fn begin_stream(&self, id: u64, status: u16, headers: &[ffi::Field]) -> bool {
        self.shared.begin_stream(id, status, headers)
    }

    /// False if the client is gone or reads too slowly: the answer need not be made any more.
    pub fn send(&self, id: u64, bytes: &[u8]) -> bool {
        self.shared.send(id, bytes)
    }

    pub fn end(&self, id: u64) {
        self.shared.end(id)
    }

    /// Puts a member into the request's line of the access log.
    pub fn note(&self, id: u64, name: &str, value_json: &str) {
        self.shared.note(id, name, value_json)
    }

    pub fn set_keys(&self, keys: &[String], admin_keys: &[String]) {
        self.shared.set_keys(keys, admin_keys)
    }

    /// From now on there are no new connections, and new requests on those that are open are answered with 503.
    pub fn drain(&self) {
        self.shared.drain();
    }

    /// Requests whose answers have not left yet.
    pub fn active(&self) -> u64 {
        self.shared.active()
    }

    pub fn connections(&self) -> u64 {
        self.shared.connections()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.drain();
        if let Some(runtime) = self.runtime.take() {
            runtime.stop();
        }
    }
}
