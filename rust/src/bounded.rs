//! Work that a downloaded file describes, on threads of its own with bounded memory, stack and time.
//!
//! Counting instructions is not enough: a single one may double a string, a normalizer of a tokenizer the whole text. So memory
//! is counted where all of it comes from, in the allocator. Nothing can unwind from there, and an allocation that fails ends the
//! process; so a thread that asks for too much is stopped there for good. It keeps what it has until the process ends. Whoever
//! waits for it gets an error.

use crate::guard::guard;
use libc::{clock_gettime, clockid_t, pthread_getcpuclockid, timespec, CLOCK_THREAD_CPUTIME_ID};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::unix::thread::JoinHandleExt;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

const TICK: Duration = Duration::from_millis(50);
const PATIENCE: u64 = 40; // times the seconds allowed, by the clock: work that waits for something that never comes

/// What one piece of work may take.
#[derive(Clone, Copy)]
pub struct Limits {
    pub bytes: isize,
    pub stack: usize, // address space; nested values are dropped and compared one in the other
    pub seconds: u64, // of processor time: a busy machine, or a process that was stopped meanwhile, uses none up
}

pub const TEMPLATE: Limits = Limits { bytes: 512 << 20, stack: 512 << 20, seconds: 15 };

/// Between threads and the one that waits for them.
#[derive(Default)]
struct Agreement {
    over_budget: AtomicBool, // set by a thread
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
    // SAFETY: the thread keeps the agreement alive as long as the pointer to it is set.
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

/// A thread that works, and the processor time at which it began what it is at.
struct Worker {
    handle: JoinHandle<()>,
    began: Arc<AtomicU64>,
}

fn nanoseconds(clock: clockid_t) -> Option<u64> {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is written, and a clock that is not there is an error.
    let failed = unsafe { clock_gettime(clock, &mut time) } != 0;
    (!failed).then_some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

impl Worker {
    fn start(limits: Limits, run: impl FnOnce(&AtomicU64) + Send + 'static) -> Result<Worker, String> {
        let began = Arc::new(AtomicU64::new(0));
        let theirs = began.clone();
        let thread = thread::Builder::new().stack_size(limits.stack).spawn(move || run(&theirs));
        thread.map(|handle| Worker { handle, began }).map_err(|e| format!("no thread to run it on: {e}"))
    }

    /// Whether what it is at has taken more processor time than allowed.
    fn is_late(&self, limits: Limits) -> bool {
        let mut clock = 0;
        // SAFETY: the thread is neither joined nor detached as long as its handle is there.
        if unsafe { pthread_getcpuclockid(self.handle.as_pthread_t(), &mut clock) } != 0 {
            return false;
        }
        let now = nanoseconds(clock).unwrap_or(0); // none any more for a thread that has ended
        now.saturating_sub(self.began.load(Ordering::Relaxed)) > limits.seconds * 1_000_000_000
    }
}

/// The result of `work`, or that it took too much.
pub fn bounded<T: Send + 'static>(
    limits: Limits,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let agreement = Arc::new(Agreement::default());
    let theirs = agreement.clone();
    let (sender, receiver) = channel();
    let worker = Worker::start(limits, move |_| {
        let _ = sender.send(counted(&theirs, limits, work)); // nobody may be waiting any more
    })?;
    next_result(&receiver, &agreement, &[worker], limits)?
}

/// The results of `work` for 0 to `count - 1`, from several threads. Each piece of work has all of the limits.
pub fn bounded_each<T: Send + 'static>(
    limits: Limits,
    count: usize,
    work: impl Fn(usize) -> Result<T, String> + Send + Sync + 'static,
) -> Result<Vec<T>, String> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(count);
    let agreement = Arc::new(Agreement::default());
    let (work, next) = (Arc::new(work), Arc::new(AtomicUsize::new(0)));
    let (sender, receiver) = channel();
    let mut workers = Vec::new();
    for _ in 0..threads {
        let (theirs, work, next, sender) = (agreement.clone(), work.clone(), next.clone(), sender.clone());
        workers.push(Worker::start(limits, move |began| loop {
            began.store(nanoseconds(CLOCK_THREAD_CPUTIME_ID).unwrap_or(0), Ordering::Relaxed);
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count || sender.send((at, counted(&theirs, limits, || work(at)))).is_err() {
                break;
            }
        })?);
    }
    drop(sender);
    let mut results: Vec<Option<T>> = (0..count).map(|_| None).collect();
    for _ in 0..count {
        let (at, result) = next_result(&receiver, &agreement, &workers, limits)?;
        results[at] = Some(result.inspect_err(|_| agreement.given_up.store(true, Ordering::Relaxed))?);
    }
    Ok(results.into_iter().flatten().collect())
}

/// Runs `work` on this thread with its memory counted.
fn counted<T>(
    agreement: &Arc<Agreement>,
    limits: Limits,
    work: impl FnOnce() -> Result<T, String>,
) -> Result<T, String> {
    BYTES_LEFT.set(limits.bytes);
    AGREEMENT.set(Arc::as_ptr(agreement));
    let result = guard(work);
    AGREEMENT.set(ptr::null());
    result
}

/// What comes next from the threads; an error when one wants too much or takes too long.
fn next_result<T>(
    receiver: &Receiver<T>,
    agreement: &Agreement,
    workers: &[Worker],
    limits: Limits,
) -> Result<T, String> {
    let ticks = limits.seconds * PATIENCE * 1000 / TICK.as_millis() as u64;
    for _ in 0..ticks {
        match receiver.recv_timeout(TICK) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Disconnected) => return Err("internal failure: no result".to_owned()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if agreement.over_budget.load(Ordering::Acquire) {
            agreement.given_up.store(true, Ordering::Relaxed);
            return Err(format!("needs more than {} MiB", limits.bytes >> 20));
        }
        if workers.iter().any(|worker| worker.is_late(limits)) {
            break;
        }
    }
    agreement.given_up.store(true, Ordering::Relaxed);
    Err(format!("takes longer than {} seconds", limits.seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_errors_come_back() {
        assert_eq!(bounded(TEMPLATE, || Ok(vec![7; 3])).unwrap(), [7, 7, 7]);
        assert_eq!(bounded(TEMPLATE, || Err::<(), _>("no".to_owned())).unwrap_err(), "no");
        assert!(bounded(TEMPLATE, || -> Result<(), String> { panic!("broken") }).unwrap_err().contains("broken"));
    }

    #[test]
    fn results_of_many_keep_their_order() {
        let squares = bounded_each(TEMPLATE, 1000, |i| Ok(i * i)).unwrap();
        assert_eq!(squares, (0..1000).map(|i| i * i).collect::<Vec<_>>());
        assert!(bounded_each(TEMPLATE, 0, |_| Ok(())).unwrap().is_empty());
        let odd = bounded_each(TEMPLATE, 9, |i| if i == 5 { Err("five".to_owned()) } else { Ok(i) });
        assert_eq!(odd.unwrap_err(), "five");
    }

    #[test]
    fn memory_is_counted_as_it_comes_and_goes() {
        let large = TEMPLATE.bytes as usize / 2;
        let fill = move |_| vec![0u8; large];
        assert!(bounded(TEMPLATE, move || Ok((0..4).map(fill).map(|v| v.len()).sum::<usize>())).is_ok());
        let all = move || Ok((0..4).map(fill).collect::<Vec<_>>().len());
        assert!(bounded(TEMPLATE, all).unwrap_err().contains("needs more than"));
        assert!(bounded_each(TEMPLATE, 3, move |_| all()).unwrap_err().contains("needs more than"));
    }

    #[test]
    fn time_is_bounded() {
        let endless = || loop {
            std::hint::black_box(vec![0u8; 9]);
        };
        let limits = Limits { seconds: 1, ..TEMPLATE };
        assert!(bounded::<()>(limits, endless).unwrap_err().contains("takes longer than 1 seconds"));
    }
}
