//! Sockets, and the thread that all connections share: it only copies bytes, the engine needs the processors.

use super::connection;
use super::exchange::Shared;
use super::guarded::Guarded;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::fs;
use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{oneshot, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

const HANDSHAKE: Duration = Duration::from_secs(10);

enum Listener {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

/// The thread of the server.
pub struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    socket: Option<PathBuf>,
}

impl Running {
    /// Closes what is still open and waits for the thread.
    pub fn stop(mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic in it was told already, by what it no longer answers
        }
        if let Some(socket) = &self.socket {
            let _ = fs::remove_file(socket);
        }
    }
}

fn bind_tcp(address: &str) -> Result<(Listener, String), String> {
    let listener = StdTcpListener::bind(address).map_err(|e| format!("{address}: {e}"))?;
    let bound = listener.local_addr().map_err(|e| format!("{address}: {e}"))?;
    Ok((Listener::Tcp(listener), bound.to_string()))
}

/// A socket that a process which ended left behind is taken over; one that somebody answers at is not.
fn bind_unix(path: &str) -> Result<(Listener, String), String> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && StdUnixStream::connect(path).is_err() {
        let _ = fs::remove_file(path);
    }
    let listener = StdUnixListener::bind(path).map_err(|e| format!("{path}: {e}"))?;
    Ok((Listener::Unix(listener), path.to_owned()))
}

fn tls(certificate: &str, key: &str) -> Result<Option<TlsAcceptor>, String> {
    if certificate.is_empty() {
        return Ok(None);
    }
    let said = |file: &str, e: &dyn std::fmt::Display| format!("{file}: {e}");
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificate).map_err(|e| said(certificate, &e))?.collect();
    let chain = chain.map_err(|e| said(certificate, &e))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| said(key, &e))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, secret);
    let mut config = config.map_err(|e| said(certificate, &e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

pub fn start(shared: Arc<Shared>) -> Result<(Running, String), String> {
    let options = &shared.options;
    let acceptor = tls(&options.tls_certificate, &options.tls_key)?;
    let by_path = !options.unix_socket.is_empty();
    let (listener, address) = if by_path { bind_unix(&options.unix_socket) } else { bind_tcp(&options.address) }?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|e| format!("no runtime: {e}"))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let socket = by_path.then(|| PathBuf::from(&options.unix_socket));
    let work = move || {
        runtime.block_on(async {
            let accepting = tokio::spawn(accept_all(shared.clone(), listener, acceptor));
            tokio::spawn(async move {
                shared.drained.notified().await;
                accepting.abort(); // closes the listener
            });
            let _ = stopped.await; // an error: the other end was dropped, which means stop
        });
        runtime.shutdown_timeout(Duration::from_millis(100));
    };
    let thread = std::thread::Builder::new().name("http".to_owned()).spawn(work);
    let thread = thread.map_err(|e| format!("no thread for the server: {e}"))?;
    Ok((Running { stop: Some(stop), thread: Some(thread), socket }, address))
}

async fn accept_all(shared: Arc<Shared>, listener: Listener, acceptor: Option<TlsAcceptor>) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(shared.options.max_connections.max(1) as usize));
    let pause = || sleep(Duration::from_millis(50)); // no file is left: some will be closed
    match listener {
        Listener::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            while let Ok(place) = places.clone().acquire_owned().await {
                let Ok((stream, peer)) = listener.accept().await else {
                    pause().await;
                    continue;
                };
                let _ = stream.set_nodelay(true);
                begin(&shared, stream, &peer.ip().to_string(), acceptor.clone(), place);
            }
        }
        Listener::Unix(listener) => {
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(listener)?;
            while let Ok(place) = places.clone().acquire_owned().await {
                match listener.accept().await {
                    Ok((stream, _)) => begin(&shared, stream, "unix", None, place),
                    Err(_) => pause().await,
                }
            }
        }
    }
    Ok(())
}

fn begin<Stream>(
    shared: &Arc<Shared>,
    stream: Stream,
    peer: &str,
    acceptor: Option<TlsAcceptor>,
    place: impl Send + 'static,
) where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (shared, peer): (_, Arc<str>) = (shared.clone(), peer.into());
    tokio::spawn(async move {
        let _place = place;
        shared.count_connection(true);
        match acceptor {
            Some(acceptor) => {
                if let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    converse(&shared, stream, peer).await;
                }
            }
            None => converse(&shared, stream, peer).await,
        }
        shared.count_connection(false);
    });
}

async fn converse<Stream>(shared: &Arc<Shared>, stream: Stream, peer: Arc<str>)
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| Guarded(connection::serve(shared.clone(), request, peer.clone())));
    let _ = http1::Builder::new() // an error is the client's: it went away or does not speak HTTP
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(shared.options.header_seconds.max(1)))
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
