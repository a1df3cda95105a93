//! Keys, paths and origins, as they are asked for by every request.

use super::bridge::ffi::ServerOptions;
use ring::digest::{digest, SHA256};
use std::hint::black_box;

type KeyDigest = [u8; 32];

/// Keys by their digests. Comparing takes as long for a wrong key as for a right one, whichever it is.
#[derive(Default)]
pub struct Keys {
    any: Vec<KeyDigest>,
    admin: Vec<KeyDigest>,
}

pub fn key_digest(key: &str) -> KeyDigest {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
    out
}

fn is_same(a: &KeyDigest, b: &KeyDigest) -> bool {
    black_box(a.iter().zip(b).fold(0u8, |seen, (x, y)| black_box(seen | (x ^ y)))) == 0
}

fn contains(keys: &[KeyDigest], wanted: &KeyDigest) -> bool {
    keys.iter().fold(false, |found, key| found | is_same(key, wanted))
}

impl Keys {
    pub fn new(keys: &[String], admin_keys: &[String]) -> Keys {
        let digests = |keys: &[String]| keys.iter().map(|key| key_digest(key)).collect();
        Keys { any: digests(keys), admin: digests(admin_keys) }
    }

    /// Whether `key` opens a path; an admin's opens all. Where no keys are set, paths that are not an admin's are open.
    pub fn allows(&self, key: Option<&str>, for_admin: bool) -> bool {
        if !for_admin && self.any.is_empty() {
            return true;
        }
        let Some(key) = key else { return false };
        let wanted = key_digest(key);
        contains(&self.admin, &wanted) | (!for_admin & contains(&self.any, &wanted))
    }
}

/// A pattern of a path: as it stands, or everything that begins with it if it ends with '*'; with "GET " before it of that method alone.
pub fn matches(patterns: &[String], method: &str, path: &str) -> bool {
    patterns.iter().any(|pattern| {
        let pattern = match pattern.split_once(' ') {
            Some((wanted, _)) if wanted != method && (wanted, method) != ("GET", "HEAD") => return false,
            Some((_, rest)) => rest,
            None => pattern,
        };
        match pattern.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => path == pattern,
        }
    })
}

/// What Access-Control-Allow-Origin says to a page of `origin`; nothing if it may not read answers.
pub fn allowed_origin(options: &ServerOptions, origin: Option<&str>) -> Option<String> {
    let origin = origin?;
    let listed = options.cors_origins.iter().any(|allowed| allowed == "*" || allowed == origin);
    listed.then(|| origin.to_owned())
}
