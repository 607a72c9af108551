//! Connections: how many, how long, how large, and how they end.
//!
//! `axum::serve` sets no header timeout and has no limits, so connections are built with hyper's own builder. Four
//! limits work below HTTP routing (time to send a header, its count and size, time to read an answer, connections);
//! body size and request time are layers of the router. When `shutdown` is cancelled the port closes at once, requests in flight get the grace
//! period to finish, and what is left is cut off.
//!
//! HTTP/1.1 is what is spoken. HTTP/2 carries gRPC alone (`grpc`), to the same router and under the same limits.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use super::App;
use super::connections::{Connections, Phase};
use super::grpc::Grpc;
use super::impatient::Impatient;
use super::tls::{HTTP2, PeerNames, Tls};

/// What a client may take. Every field is a bound on something a stranger could otherwise grow without end.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Time from the first byte of a request to the end of its header; of the first one, from the connection on.
    pub header_timeout: Duration,
    /// Time a connection may idle between requests: longer than the longest common scrape interval (60 s), or every
    /// scrape would open a new connection.
    pub header_read_timeout: Duration,
    /// Time for a TLS handshake, where there is one.
    pub handshake_timeout: Duration,
    /// Header lines of one request; more is a 431.
    pub max_headers: usize,
    /// Bytes of one request's header (and of the read buffer), at least 8192; more is a 431.
    pub max_header_bytes: usize,
    /// Bytes of one request's body; more is a 413.
    pub max_body_bytes: usize,
    /// Time until an answer has to begin, the body of the request included; longer is a 408.
    pub request_timeout: Duration,
    /// Time a client may leave what was sent to it unread; longer closes its connection.
    pub write_timeout: Duration,
    /// Connections at a time; for further ones the one that waits longest for its client makes room.
    pub max_connections: usize,
    /// The same from one address.
    pub max_connections_of_peer: usize,
    /// Streams (`/v1/stream`) at a time; more is a 503.
    pub max_streams: usize,
    /// Streams of one service (`/v1/services/{name}/stream`) at a time: sidecars. Fewer than connections, so that they keep nobody
    /// else out.
    pub max_mirrors: usize,
    /// Time between two signs of life on a stream.
    pub heartbeat: Duration,
    /// Time that requests in flight get after a stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            header_timeout: Duration::from_secs(10),
            header_read_timeout: Duration::from_secs(75),
            handshake_timeout: Duration::from_secs(5),
            max_headers: 64,
            max_header_bytes: 16 * 1024,
            max_body_bytes: 64 * 1024,
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            max_connections: 768,
            max_connections_of_peer: 256,
            max_streams: 64,
            max_mirrors: 512,
            heartbeat: Duration::from_secs(10),
            grace: Duration::from_secs(10),
        }
    }
}

/// Serves `app` on `listener` until `shutdown` is cancelled, then drains.
pub async fn serve(listener: TcpListener, app: App, shutdown: CancellationToken) {
    let (limits, tls) = (app.limits.clone(), app.tls.clone());
    let router = super::router(app, shutdown.clone());
    serve_router(listener, router, &limits, tls, shutdown).await;
}

/// [`serve`] with any router: what the limits are tested through.
pub(super) async fn serve_router(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    tls: Option<Arc<Tls>>,
    shutdown: CancellationToken,
) {
    let builders = Builders::of(limits);
    let seats = Connections::new(limits.max_connections, limits.max_connections_of_peer);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener) => match accepted {
                Ok(accepted) => accepted,
                Err(fault) => {
                    warn!(%fault, "cannot accept connections; trying again in a second");
                    tokio::select! {
                        () = shutdown.cancelled() => break,
                        () = tokio::time::sleep(Duration::from_secs(1)) => continue,
                    }
                }
            },
        };
        let seat = tokio::select! {
            () = shutdown.cancelled() => break,
            seat = seats.admit(peer.ip().to_canonical()) => seat,
        };
        let Some(seat) = seat else { continue };
        let acceptor = tls.as_ref().map(|tls| tls.acceptor());
        let handshake_timeout = limits.handshake_timeout;
        let mut stream = Impatient::new(stream, limits.write_timeout, limits.header_timeout, Arc::clone(&seat.phase));
        let connection = Connection {
            builders: builders.clone(),
            watcher: graceful.watcher(),
            router: router.clone(),
            wait: limits.header_timeout,
            peer,
            phase: Arc::clone(&seat.phase),
        };
        let stop = shutdown.clone();
        connections.spawn(async move {
            let cut = seat.cut.clone();
            let served = async {
                let Some(acceptor) = acceptor else {
                    // Who has sent nothing yet when the server stops is not waited for.
                    match stop.run_until_cancelled(stream.begins_http2()).await {
                        Some(Ok(is_http2)) => connection.run(stream, None, is_http2).await,
                        Some(Err(fault)) => debug!(%peer, %fault, "nothing came"),
                        None => {}
                    }
                    return;
                };
                match tokio::time::timeout(handshake_timeout, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let of = stream.get_ref().1;
                        let (names, is_http2) =
                            (PeerNames::of(of.peer_certificates()), of.alpn_protocol() == Some(HTTP2));
                        connection.run(stream, Some(names), is_http2).await;
                    }
                    Ok(Err(fault)) => debug!(%peer, %fault, "no TLS"),
                    Err(_) => debug!(%peer, "the TLS handshake took too long"),
                }
            };
            tokio::select! {
                () = served => {}
                () = cut.cancelled() => debug!(%peer, "a connection that waits for its client makes room"),
            }
            drop(seat);
        });
    }
    drop(listener);
    match tokio::time::timeout(limits.grace, graceful.shutdown()).await {
        Ok(()) => info!("every connection drained"),
        Err(_) => {
            while connections.try_join_next().is_some() {}
            warn!(connections = connections.len(), "cutting off what did not finish within the grace period");
        }
    }
    connections.shutdown().await;
}

/// How connections of either HTTP are made.
#[derive(Clone)]
struct Builders {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Builders {
    fn of(limits: &Limits) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_read_timeout)
            .max_headers(limits.max_headers)
            .max_buf_size(limits.max_header_bytes.max(8192));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(CALLS_OF_CONNECTION)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_send_buf_size(WINDOW_BYTES as usize)
            .keep_alive_interval(limits.header_read_timeout)
            .keep_alive_timeout(limits.write_timeout);
        Builders { http1, http2 }
    }
}

/// Calls of gRPC that one connection may have open.
const CALLS_OF_CONNECTION: u32 = 64;
/// What a client may send of one call before it is read, bytes.
const WINDOW_BYTES: u32 = 64 * 1024;

/// What one connection is served with.
struct Connection {
    builders: Builders,
    watcher: Watcher,
    router: Router,
    /// Longest wait for a message of gRPC.
    wait: Duration,
    peer: SocketAddr,
    phase: Arc<Phase>,
}

impl Connection {
    async fn run<S>(self, stream: S, names: Option<PeerNames>, is_http2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Connection { builders, watcher, router, wait, peer, phase } = self;
        let stream = TokioIo::new(stream);
        let outcome = match is_http2 {
            false => {
                let service = service(router, peer, names, phase);
                watcher.watch(builders.http1.serve_connection(stream, service)).await
            }
            true => {
                phase.carries_many();
                let grpc = Grpc::new(router, peer, names, wait, phase);
                let service = hyper::service::service_fn(move |request| {
                    let grpc = grpc.clone();
                    async move { Ok::<_, std::convert::Infallible>(grpc.answer(request).await) }
                });
                watcher.watch(builders.http2.serve_connection(stream, service)).await
            }
        };
        ended(peer, outcome);
    }
}

/// The router for one connection; handlers learn who is at its other end.
fn service(
    router: Router,
    peer: SocketAddr,
    names: Option<PeerNames>,
    phase: Arc<Phase>,
) -> impl hyper::service::Service<
    hyper::Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> {
    hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        if let Some(names) = &names {
            request.extensions_mut().insert(names.clone());
        }
        let serving = phase.serve();
        let request = request.map(|body| Body::new(Upload { body, phase: Arc::clone(&phase) }));
        let answer = router.clone().oneshot(request);
        async move {
            // Until the last of its body is sent it is being answered.
            let answer = answer.await?;
            Ok(answer.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    let _still = &serving;
                    frame
                }))
            }))
        }
    })
}

/// The body of a request. While more of it is waited for, its client holds the answer up, and may have to make room.
struct Upload {
    body: Incoming,
    phase: Arc<Phase>,
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match frame.is_pending() {
            true => self.phase.stalls(),
            false if self.body.is_end_stream() => self.phase.goes_on(),
            false => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Upload {
    /// Whoever reads no more of it does not wait for it.
    fn drop(&mut self) {
        self.phase.goes_on();
    }
}

fn ended(peer: SocketAddr, outcome: Result<(), hyper::Error>) {
    if let Err(fault) = outcome {
        debug!(%peer, %fault, "connection ended early");
    }
}

/// Waits for a connection.
async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are written at once; waiting for more to send would only delay them.
                stream.set_nodelay(true).ok();
                return Ok((stream, peer));
            }
            // The client gave up before it was accepted.
            Err(fault) if matches!(fault.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(fault) => return Err(fault),
        }
    }
}

#[cfg(test)]
pub(super) mod served;
#[cfg(test)]
mod tests;
