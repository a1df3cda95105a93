//! No panic may cross into C++: it would abort the process. Every function of the bridge runs its work in here.

use std::panic::{catch_unwind, set_hook, AssertUnwindSafe};
use std::sync::Once;

static QUIET: Once = Once::new();

/// Runs `work`; a panic becomes an error that carries its message. Nothing is printed.
pub fn guard<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    if !cfg!(test) {
        QUIET.call_once(|| set_hook(Box::new(|_| {})));
    }
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(payload) => {
            let text = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(format!("internal failure: {text}"))
        }
    }
}
