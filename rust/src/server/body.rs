//! The body of an answer: whole, or a stream whose parts come one by one. When it is dropped, the answer has left or its client is gone.

use super::access_log::Entry;
use super::exchange::{Content, Notes, Shared};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, Instant, Sleep};

pub enum Part {
    Bytes(Bytes),
    End,
}

/// From a request's first line to the last byte of its answer. Its end, whatever way it comes, is told and logged.
pub struct Watch {
    pub shared: Arc<Shared>,
    pub id: u64, // 0: C++ does not know of it
    pub entry: Entry,
    pub notes: Notes,
}

impl Watch {
    pub fn new(shared: Arc<Shared>, entry: Entry) -> Watch {
        shared.count_active(true);
        Watch { shared, id: 0, entry, notes: Notes::default() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.id != 0 {
            self.shared.forget(self.id);
        }
        if let Ok(notes) = self.notes.lock() {
            for (name, value) in notes.iter() {
                let value = serde_json::from_str(value).unwrap_or_default();
                self.entry.members.insert(name.clone(), value);
            }
        }
        if self.entry.status == 0 {
            self.entry.status = 499; // as nginx has it: the client went away before there was an answer
        }
        self.shared.log.write(&mut self.entry);
        self.shared.count_active(false);
    }
}

enum Source {
    Whole(Option<Bytes>),
    Stream { parts: UnboundedReceiver<Part>, waiting: Arc<AtomicUsize>, has_ended: bool },
}

pub struct ReplyBody {
    source: Source,
    comment: Option<(Pin<Box<Sleep>>, Duration)>, // when a stream says that it is still there
    watch: Watch,
}

impl ReplyBody {
    pub fn new(content: Content, comment_after: Duration, watch: Watch) -> ReplyBody {
        match content {
            Content::Whole(bytes) => ReplyBody { source: Source::Whole(Some(bytes)), comment: None, watch },
            Content::Stream(parts, waiting) => ReplyBody {
                source: Source::Stream { parts, waiting, has_ended: false },
                comment: Some((Box::pin(sleep(comment_after)), comment_after)),
                watch,
            },
        }
    }

    fn send(&mut self, bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.watch.entry.bytes += bytes.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        let next = match &mut this.source {
            Source::Whole(bytes) => match bytes.take() {
                Some(bytes) if !bytes.is_empty() => return this.send(bytes),
                _ => return Poll::Ready(None),
            },
            Source::Stream { has_ended: true, .. } => return Poll::Ready(None),
            Source::Stream { parts, .. } => parts.poll_recv(task),
        };
        match (next, &mut this.source) {
            (Poll::Ready(Some(Part::Bytes(bytes))), Source::Stream { waiting, .. }) => {
                waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                if let Some((timer, after)) = &mut this.comment {
                    timer.as_mut().reset(Instant::now() + *after);
                }
                this.send(bytes)
            }
            (Poll::Ready(Some(Part::End)), Source::Stream { has_ended, .. }) => {
                *has_ended = true;
                Poll::Ready(None)
            }
            (Poll::Ready(None), _) => Poll::Ready(Some(Err(io::Error::other("the answer was broken off")))),
            _ => {
                if let Some((timer, after)) = &mut this.comment {
                    if timer.as_mut().poll(task).is_ready() {
                        timer.as_mut().reset(Instant::now() + *after);
                        let _ = timer.as_mut().poll(task); // wakes this task when it is due again
                        return this.send(Bytes::from_static(b": still there\n\n"));
                    }
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Source::Stream { has_ended, .. } => *has_ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Stream { .. } => SizeHint::default(),
        }
    }
}
