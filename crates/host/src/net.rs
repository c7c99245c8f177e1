//! Real sockets: listen, connect, vectored writes, `sendfile`.
//!
//! A [`Stream`] belongs to one task, which polls both of its directions.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::disk::{File, FileKind};

#[cfg(test)]
mod tests;

/// How sockets are set up. `None` leaves the kernel's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// `SO_SNDBUF`.
    pub send_buffer_bytes: Option<u32>,
    /// `SO_RCVBUF`.
    pub receive_buffer_bytes: Option<u32>,
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
}

/// A connection. Small writes leave at once (`TCP_NODELAY`), and dead peers are noticed in the end
/// (`SO_KEEPALIVE`).
#[derive(Debug)]
pub struct Stream {
    stream: TcpStream,
    peer: SocketAddr,
}

/// The most bytes one `sendfile` is asked for, so that one connection does not hold its thread for long.
const MAX_SEND_FILE_BYTES: u64 = 1 << 20;
/// The most bytes of a file that are copied at a time where there is no `sendfile`.
const COPY_BYTES: u64 = 64 << 10;

impl Listener {
    /// Listens on an address; port zero takes any free port. Needs a tokio runtime.
    pub fn bind(address: SocketAddr, backlog: u32, options: SocketOptions) -> io::Result<Listener> {
        let socket = socket_for(address.ip(), options)?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Listener { listener: socket.listen(backlog)? })
    }

    /// The address, with the port that was taken.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection. An error concerns one connection or the lack of descriptors, not the listener.
    /// Nothing is lost if the future is dropped.
    pub async fn accept(&self) -> io::Result<Stream> {
        let (stream, peer) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(Stream { stream, peer })
    }
}

impl Stream {
    /// Connects to an address.
    pub async fn connect(address: SocketAddr, options: SocketOptions) -> io::Result<Stream> {
        let socket = socket_for(address.ip(), options)?;
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Stream { stream, peer: address })
    }

    /// The address at the other end.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// The address at this end.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Ready once there may be something to read, so that a quiet connection needs no buffer.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(cx)
    }

    /// Reads into the spare capacity of `buffer`, which must have some; zero means that the peer will send
    /// no more.
    #[expect(unsafe_code, reason = "reading into uninitialised capacity")]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        assert!(buffer.capacity() > buffer.len(), "no room to read into");
        let spare = buffer.spare_capacity_mut();
        let mut read = ReadBuf::uninit(spare);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        let count = read.filled().len();
        // SAFETY: `read` borrowed this spare capacity, and its first `count` bytes are filled.
        unsafe { buffer.advance_mut(count) };
        Poll::Ready(Ok(count))
    }

    /// Writes a first part of `pieces`; says how much.
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    /// The same, for bytes that a file follows at once: the kernel may hold them back to fill a packet.
    pub fn poll_write_vectored_before_file(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            let send = || {
                let mut control = SendAncillaryBuffer::default();
                let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
                Ok(rustix::net::sendmsg(&self.stream, pieces, &mut control, flags)?)
            };
            match self.stream.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Sends a first part of `len` bytes of `file` from `offset`; says how much. The bytes do not pass
    /// through this process. [`io::ErrorKind::UnexpectedEof`] if the file has none there.
    pub fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        len: u64,
    ) -> Poll<io::Result<usize>> {
        let sent = match &file.kind {
            FileKind::Real(file) => loop {
                ready!(self.stream.poll_write_ready(cx))?;
                let count = len.min(MAX_SEND_FILE_BYTES) as usize;
                let send = || {
                    let mut offset = offset;
                    Ok(rustix::fs::sendfile(&self.stream, &file.file, Some(&mut offset), count)?)
                };
                match self.stream.try_io(Interest::WRITABLE, send) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result?,
                }
            },
            FileKind::Simulated(_) => {
                let mut part = vec![0; len.min(COPY_BYTES) as usize];
                let count = file.read_at(&mut part, offset)?;
                ready!(self.poll_write_vectored(cx, &[IoSlice::new(&part[..count])]))?
            }
        };
        if sent == 0 && len > 0 {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
        Poll::Ready(Ok(sent))
    }

    /// Reads once: [`Stream::poll_read`].
    pub async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buffer)).await
    }

    /// Writes all of `pieces`, which are used up.
    pub async fn write_all_vectored(&mut self, pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut pieces = pieces;
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            match poll_fn(|cx| self.poll_write_vectored(cx, pieces)).await? {
                0 => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                count => IoSlice::advance_slices(&mut pieces, count),
            }
        }
        Ok(())
    }

    /// Sends all of `len` bytes of `file` from `offset`.
    pub async fn send_file(&mut self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        let mut sent = 0;
        while sent < len {
            sent += poll_fn(|cx| self.poll_send_file(cx, file, offset + sent, len - sent)).await? as u64;
        }
        Ok(())
    }

    /// Says that no more will be sent.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The addresses of a host name, in the resolver's order.
pub async fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, port)).await?.collect())
}

/// As [`resolve`], on the caller's thread: for the rare name in a setting.
pub fn resolve_blocking(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(std::net::ToSocketAddrs::to_socket_addrs(&(name, port))?.collect())
}

fn socket_for(address: IpAddr, options: SocketOptions) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_keepalive(true)?;
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(socket)
}
