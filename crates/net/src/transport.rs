//! Bytes over a socket, whatever protects them.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::BytesMut;
use ottla_host::File;
use ottla_host::net::Stream;

/// A connection's bytes, as the program sees them.
pub(crate) enum Transport {
    /// As they are on the wire.
    Plain(Stream),
}

impl Transport {
    /// The address at the other end.
    pub(crate) fn peer_address(&self) -> SocketAddr {
        match self {
            Transport::Plain(stream) => stream.peer_address(),
        }
    }

    /// Ready once there may be something to read.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(stream) => stream.poll_readable(cx),
        }
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Transport::Plain(stream) => stream.poll_read(cx, buffer),
        }
    }

    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Transport::Plain(stream) => stream.poll_write_vectored(cx, pieces),
        }
    }

    /// Writes a first part of `pieces`, which a file follows at once.
    pub(crate) fn poll_write_vectored_before_file(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Transport::Plain(stream) => stream.poll_write_vectored_before_file(cx, pieces),
        }
    }

    /// Sends a range of a file, past this process's memory where the protection allows it.
    pub(crate) fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        len: u64,
    ) -> Poll<io::Result<usize>> {
        match self {
            Transport::Plain(stream) => stream.poll_send_file(cx, file, offset, len),
        }
    }

    /// Says that no more will be sent.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(stream) => stream.poll_shutdown(cx),
        }
    }
}
