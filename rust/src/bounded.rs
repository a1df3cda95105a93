//! Work that a downloaded file describes, on a thread of its own with bounded memory, stack and time.
//!
//! minijinja counts instructions, but a single one may double a string, copy a list that repeats itself a million times, or compare
//! values that hold each other many times over. So memory is counted where all of it comes from, in the allocator. Nothing can unwind
//! from there, and an allocation that fails ends the process; so a thread that asks for too much is stopped there for good. It keeps what
//! it has until the process ends. Whoever waits for it gets an error.

use crate::guard::guard;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const MAX_BYTES: isize = 512 << 20;
const STACK_BYTES: usize = 512 << 20; // address space; nested values are dropped and compared one in the other
const TICK: Duration = Duration::from_millis(50);
const MAX_TICKS: u32 = 600; // 30 seconds. Ticks instead of a clock: a process that was stopped meanwhile has not used them up

/// Between a thread and the one that waits for it.
#[derive(Default)]
struct Agreement {
    over_budget: AtomicBool, // set by the thread
    given_up: AtomicBool,    // set by the one that waited
}

thread_local! {
    static BYTES_LEFT: Cell<isize> = const { Cell::new(0) };
    static AGREEMENT: Cell<*const Agreement> = const { Cell::new(ptr::null()) }; // null: nothing is bounded
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn stop(agreement: &Agreement) -> ! {
    AGREEMENT.set(ptr::null());
    agreement.over_budget.store(true, Ordering::Release);
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

#[inline]
fn take(bytes: isize) {
    let agreement = AGREEMENT.get();
    if agreement.is_null() {
        return;
    }
    // SAFETY: `bounded` keeps the agreement alive as long as the pointer to it is set.
    let agreement = unsafe { &*agreement };
    let left = BYTES_LEFT.get().saturating_sub(bytes);
    BYTES_LEFT.set(left);
    if bytes > 0 && (left < 0 || agreement.given_up.load(Ordering::Relaxed)) {
        stop(agreement);
    }
}

// SAFETY: everything is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size() as isize);
        System.alloc(layout)
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size() as isize);
        System.alloc_zeroed(layout)
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        take(-(layout.size() as isize));
        System.dealloc(memory, layout)
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        take(bytes as isize - layout.size() as isize);
        System.realloc(memory, layout, bytes)
    }
}

/// The result of `work`, or that it took too much.
pub fn bounded<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    bounded_by(MAX_TICKS, work)
}

fn bounded_by<T: Send + 'static>(
    ticks: u32,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let agreement = Arc::new(Agreement::default());
    let theirs = agreement.clone();
    let (sender, receiver) = channel();
    let run = move || {
        BYTES_LEFT.set(MAX_BYTES);
        AGREEMENT.set(Arc::as_ptr(&theirs));
        let result = guard(work);
        AGREEMENT.set(ptr::null());
        let _ = sender.send(result); // nobody may be waiting any more
    };
    thread::Builder::new().stack_size(STACK_BYTES).spawn(run).map_err(|e| format!("no thread to run it on: {e}"))?;
    for _ in 0..ticks {
        match receiver.recv_timeout(TICK) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => return Err("internal failure: no result".to_owned()),
            Err(RecvTimeoutError::Timeout) if agreement.over_budget.load(Ordering::Acquire) => {
                return Err(format!("needs more than {} MiB", MAX_BYTES >> 20));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    agreement.given_up.store(true, Ordering::Relaxed);
    Err(format!("takes longer than {} seconds", (TICK * ticks).as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_errors_come_back() {
        assert_eq!(bounded(|| Ok(vec![7; 3])).unwrap(), [7, 7, 7]);
        assert_eq!(bounded(|| Err::<(), _>("no".to_owned())).unwrap_err(), "no");
        assert!(bounded(|| -> Result<(), String> { panic!("broken") }).unwrap_err().contains("broken"));
    }

    #[test]
    fn memory_is_counted_as_it_comes_and_goes() {
        let large = MAX_BYTES as usize / 2;
        assert!(bounded(move || Ok((0..4).map(|_| vec![0u8; large].len()).sum::<usize>())).is_ok());
        assert!(bounded(move || Ok((0..4).map(|_| vec![0u8; large]).collect::<Vec<_>>().len()))
            .unwrap_err()
            .contains("needs more than"));
    }

    #[test]
    fn time_is_bounded() {
        let endless = || loop {
            std::hint::black_box(vec![0u8; 9]);
        };
        assert!(bounded_by::<()>(20, endless).unwrap_err().contains("takes longer than 1 seconds"));
    }
}
