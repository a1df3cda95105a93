//! A line of JSON for every request: who asked what, what came of it, how long it took. Never what was said, unless C++ notes it.

use serde_json::{Map, Value};
use std::fs::{File, OpenOptions};
use std::io::{stderr, Write};
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub struct AccessLog {
    file: Option<Mutex<File>>, // none: stderr
    is_on: bool,
}

/// What is known of a request; written when it is over.
pub struct Entry {
    pub began: Instant,
    pub status: u16,
    pub bytes: u64,
    pub members: Map<String, Value>,
}

impl Entry {
    pub fn new(method: &str, path: &str, peer: &str) -> Entry {
        let mut members = Map::new();
        for (name, value) in [("method", method), ("path", path), ("peer", peer)] {
            members.insert(name.to_owned(), Value::String(value.to_owned()));
        }
        Entry { began: Instant::now(), status: 0, bytes: 0, members }
    }
}

impl AccessLog {
    /// `path`: a file, gone on with at its end; "-" for stderr; empty for none.
    pub fn open(path: &str) -> Result<AccessLog, String> {
        if path.is_empty() || path == "-" {
            return Ok(AccessLog { file: None, is_on: !path.is_empty() });
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|e| format!("the access log {path} cannot be written: {e}"))?;
        Ok(AccessLog { file: Some(Mutex::new(file)), is_on: true })
    }

    pub fn write(&self, entry: &mut Entry) {
        if !self.is_on {
            return;
        }
        let mut line = Map::new();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        line.insert("time".to_owned(), ((now * 1e3).round() / 1e3).into());
        line.append(&mut entry.members);
        line.insert("status".to_owned(), entry.status.into());
        line.insert("bytes".to_owned(), entry.bytes.into());
        let seconds = entry.began.elapsed().as_secs_f64();
        line.insert("seconds".to_owned(), ((seconds * 1e6).round() / 1e6).into());
        let text = format!("{}\n", Value::Object(line));
        let _ = match &self.file {
            // A disk that is full must not stop answers.
            Some(file) => file.lock().map(|mut file| file.write_all(text.as_bytes())).unwrap_or(Ok(())),
            None => stderr().write_all(text.as_bytes()),
        };
    }
}
