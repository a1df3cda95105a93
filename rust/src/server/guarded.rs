//! A panic while one request is taken in ends that request's connection, not the thread that all connections share.

use std::future::Future;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};

pub struct Guarded<Work>(pub Work);

impl<Work, T> Future for Guarded<Work>
where
    Work: Future<Output = Result<T, std::convert::Infallible>>,
{
    type Output = io::Result<T>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<T>> {
        // SAFETY: the only field is pinned with what holds it and is not moved out of.
        let work = unsafe { self.map_unchecked_mut(|guarded| &mut guarded.0) };
        match catch_unwind(AssertUnwindSafe(|| work.poll(task))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Ok(value))) => Poll::Ready(Ok(value)),
            Ok(Poll::Ready(Err(never))) => match never {},
            Err(_) => Poll::Ready(Err(io::Error::other("internal failure"))),
        }
    }
}
