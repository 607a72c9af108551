//! A server on a free port, for tests that meet its limits on a real socket.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{Limits, serve_router};

/// A limit that is soon reached.
pub const SHORT: Duration = Duration::from_millis(200);
/// Longer than anything there takes; only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What is served.
pub struct Served {
    pub at: SocketAddr,
    pub stop: CancellationToken,
    pub task: tokio::task::JoinHandle<()>,
}

impl Served {
    pub async fn of(router: Router, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("it is bound");
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move { serve_router(listener, router, &limits, None, stopped).await });
        Served { at, stop, task }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.at).await.expect("the port is open")
    }
}
