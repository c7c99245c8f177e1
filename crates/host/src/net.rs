//! Real sockets: listen, connect, vectored writes, `sendfile`.
