//! The transport of `swage serve`: HTTP/1.1 over TCP, TLS or a unix socket, limits, keys, CORS, streams, an access log.
//! What requests mean is C++'s: it takes events from here (a request came, its client is gone) and answers by number.

mod access_log;
mod body;
mod bridge;
mod connection;
mod exchange;
mod guarded;
mod listen;
mod options;

#[cfg(test)]
mod tests;
