//! A connection that gives up on a client who does not read what it asked for, or begins a request and does not go on.
//! Hyper bounds how long a client takes to receive not at all, and gives half a request as long as a connection may idle.
//!
//! Its first bytes say which HTTP is spoken. Of HTTP/2 a byte that comes begins no request: pings and windows come at any time,
//! and who holds such a connection for nothing makes room for others like everybody who waits.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::connections::Phase;

/// What a connection of HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose writes fail when none makes progress for `limit`, and whose reads fail when a request that has begun
/// is not there `begun_limit` later; the first one begins with the connection.
pub struct Impatient {
    stream: TcpStream,
    /// What was read to learn which HTTP it is, and was not passed on yet.
    first: Vec<u8>,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    begun_limit: Duration,
    begun: Option<Pin<Box<Sleep>>>,
    phase: Arc<Phase>,
}

impl Impatient {
    /// Wraps `stream`.
    pub fn new(stream: TcpStream, limit: Duration, begun_limit: Duration, phase: Arc<Phase>) -> Self {
        let begun = Some(Box::pin(sleep(begun_limit)));
        Impatient { stream, first: Vec::new(), limit, stalled: None, begun_limit, begun, phase }
    }

    /// Whether what comes is HTTP/2, by prior knowledge. Reads no further than it has to, and passes all of it on afterwards.
    ///
    /// # Errors
    /// It cannot be read, or nothing comes in time.
    pub async fn begins_http2(&mut self) -> Result<bool> {
        let mut first = Vec::with_capacity(PREFACE.len());
        while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
            let mut rest = [0; PREFACE.len()];
            let read = self.read(&mut rest[first.len()..]).await?;
            if read == 0 {
                break;
            }
            let from = first.len();
            first.extend_from_slice(&rest[from..from + read]);
        }
        let is_http2 = first == PREFACE;
        if is_http2 {
            self.phase.carries_many();
        }
        self.first = first;
        Ok(is_http2)
    }

    /// Passes what was read on. Bytes while no request is being answered begin one; while one is, nothing is waited for.
    fn judge_read(&mut self, cx: &mut Context<'_>, read: Poll<Result<()>>, bytes: usize) -> Poll<Result<()>> {
        if !self.phase.waits() || self.phase.is_of_many() {
            self.begun = None;
            return read;
        }
        if read.is_ready() {
            if bytes > 0 {
                self.begun.get_or_insert_with(|| Box::pin(sleep(self.begun_limit)));
            }
            return read;
        }
        match self.begun.as_mut().map(|begun| begun.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the request does not come"))),
            _ => Poll::Pending,
        }
    }

    /// Passes `outcome` on; one that is pending starts the clock, one that is not stops it.
    fn judge<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<Result<T>>) -> Poll<Result<T>> {
        if outcome.is_ready() {
            if self.stalled.take().is_some() {
                self.phase.goes_on();
            }
            return outcome;
        }
        self.phase.stalls();
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client does not read"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Impatient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if !self.first.is_empty() {
            let n = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first[..n]);
            self.first.drain(..n);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        self.judge_read(cx, read, bytes)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
