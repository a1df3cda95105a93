//! Requests that are not answered yet, by number.

use super::access_log::AccessLog;
use super::body::Part;
use super::bridge::ffi::{Field, ServerEvent, ServerOptions, ServerRequest};
use super::options::Keys;
use hyper::body::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use tokio::sync::{mpsc, oneshot, Notify};

/// Bytes of a stream that wait for its reader. Whoever is further behind is taken for gone.
const MOST_WAITING: usize = 4 << 20;

pub struct Head {
    pub status: u16,
    pub headers: Vec<Field>,
    pub body: Content,
}

pub enum Content {
    Whole(Bytes),
    Stream(mpsc::UnboundedReceiver<Part>, Arc<AtomicUsize>),
}

pub struct Reply;

impl Reply {
    pub fn whole(status: u16, headers: &[Field], body: &[u8]) -> Head {
        Head { status, headers: headers.to_vec(), body: Content::Whole(Bytes::copy_from_slice(body)) }
    }
}

struct Exchange {
    request: Option<ServerRequest>,
    head: Option<oneshot::Sender<Head>>,
    parts: Option<mpsc::UnboundedSender<Part>>,
    waiting: Arc<AtomicUsize>, // bytes
    notes: Notes,
}

pub type Notes = Arc<Mutex<Vec<(String, String)>>>;

pub struct Shared {
    pub options: ServerOptions,
    pub log: AccessLog,
    pub drained: Notify,
    keys: RwLock<Keys>,
    events: Mutex<Sender<ServerEvent>>,
    open: Mutex<HashMap<u64, Exchange>>,
    last: AtomicU64,
    active: AtomicU64,
    connections: AtomicU64,
    draining: AtomicBool,
}

impl Shared {
    pub fn new(options: ServerOptions, events: Sender<ServerEvent>) -> Result<Shared, String> {
        Ok(Shared {
            log: AccessLog::open(&options.access_log)?,
            drained: Notify::new(),
            keys: RwLock::new(Keys::new(&options.keys, &options.admin_keys)),
            events: Mutex::new(events),
            open: Mutex::default(),
            last: AtomicU64::new(0),
            active: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            options,
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Exchange>> {
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn tell(&self, kind: u8, id: u64) {
        let events = self.events.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = events.send(ServerEvent { kind, id }); // nobody listens any more when the server is taken down
    }

    pub fn allows(&self, key: Option<&str>, for_admin: bool) -> bool {
        self.keys.read().unwrap_or_else(|poisoned| poisoned.into_inner()).allows(key, for_admin)
    }

    pub fn set_keys(&self, keys: &[String], admin_keys: &[String]) {
        *self.keys.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Keys::new(keys, admin_keys);
    }

    /// Takes a request in and tells of it; the answer comes through what is returned.
    pub fn begin(&self, request: ServerRequest, notes: Notes) -> (u64, oneshot::Receiver<Head>) {
        let id = 1 + self.last.fetch_add(1, Ordering::Relaxed);
        let (head, answer) = oneshot::channel();
        let exchange =
            Exchange { request: Some(request), head: Some(head), parts: None, waiting: Arc::default(), notes };
        self.open().insert(id, exchange);
        self.tell(1, id);
        (id, answer)
    }

    /// Nobody waits for the answer any more. Nothing happens if it is complete.
    pub fn forget(&self, id: u64) {
        if self.open().remove(&id).is_some() {
            self.tell(2, id);
        }
    }

    pub fn take_request(&self, id: u64) -> Option<ServerRequest> {
        self.open().get_mut(&id)?.request.take()
    }

    pub fn reply(&self, id: u64, head: Head) -> bool {
        let Some(exchange) = self.open().remove(&id) else { return false };
        exchange.head.is_some_and(|to| to.send(head).is_ok())
    }

    pub fn begin_stream(&self, id: u64, status: u16, headers: &[Field]) -> bool {
        let mut open = self.open();
        let Some(exchange) = open.get_mut(&id) else { return false };
        let Some(to) = exchange.head.take() else { return false };
        let (sender, receiver) = mpsc::unbounded_channel();
        exchange.parts = Some(sender);
        let body = Content::Stream(receiver, exchange.waiting.clone());
        to.send(Head { status, headers: headers.to_vec(), body }).is_ok()
    }

    pub fn send(&self, id: u64, bytes: &[u8]) -> bool {
        let mut open = self.open();
        let Some(exchange) = open.get(&id) else { return false };
        let Some(parts) = &exchange.parts else { return false };
        let waiting = exchange.waiting.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        if waiting <= MOST_WAITING && parts.send(Part::Bytes(Bytes::copy_from_slice(bytes))).is_ok() {
            return true;
        }
        open.remove(&id); // without an end: the connection is closed
        false
    }

    pub fn end(&self, id: u64) {
        if let Some(parts) = self.open().remove(&id).and_then(|exchange| exchange.parts) {
            let _ = parts.send(Part::End); // who is gone needs no end
        }
    }

    pub fn note(&self, id: u64, name: &str, value_json: &str) {
        let Some(notes) = self.open().get(&id).map(|exchange| exchange.notes.clone()) else { return };
        notes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((name.to_owned(), value_json.to_owned()));
    }

    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.drained.notify_one();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub fn active(&self) -> u64 {
        self.active.load(Ordering::Acquire)
    }

    pub fn count_active(&self, more: bool) {
        if more {
            self.active.fetch_add(1, Ordering::AcqRel);
        } else {
            self.active.fetch_sub(1, Ordering::AcqRel);
        }
    }

    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Acquire)
    }

    pub fn count_connection(&self, more: bool) {
        if more {
            self.connections.fetch_add(1, Ordering::AcqRel);
        } else {
            self.connections.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
