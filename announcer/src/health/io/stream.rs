//! The connection of a probe: over TCP, or to a unix socket.
//!
//! Touches the network.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

#[cfg(test)]
mod tests;

/// A connection, which does not say what is below it.
#[derive(Debug)]
pub(super) enum ProbeStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl ProbeStream {
    /// Reads what has arrived, without waiting.
    ///
    /// # Errors
    /// Nothing has arrived ([`io::ErrorKind::WouldBlock`]), or an error of the socket.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            ProbeStream::Tcp(stream) => stream.try_read(buffer),
            ProbeStream::Unix(stream) => stream.try_read(buffer),
        }
    }
}

impl AsyncRead for ProbeStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ProbeStream::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            ProbeStream::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for ProbeStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ProbeStream::Tcp(stream) => Pin::new(stream).poll_write(context, octets),
            ProbeStream::Unix(stream) => Pin::new(stream).poll_write(context, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ProbeStream::Tcp(stream) => Pin::new(stream).poll_flush(context),
            ProbeStream::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ProbeStream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            ProbeStream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ProbeStream::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, octets),
            ProbeStream::Unix(stream) => Pin::new(stream).poll_write_vectored(context, octets),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            ProbeStream::Tcp(stream) => stream.is_write_vectored(),
            ProbeStream::Unix(stream) => stream.is_write_vectored(),
        }
    }
}
