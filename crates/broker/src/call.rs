//! One request on its way: who asked, what for, and the bytes of the answer.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use ottla_base::{Moment, Str};
use ottla_net::Response;
use ottla_wire::{ApiKey, EncodeError, Message, Writer, response_header_version};

/// A listener as its connections see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerRole {
    /// Its name, such as `PLAINTEXT` or `CONTROLLER`.
    pub name: Str,
    /// Whether it serves brokers' APIs or controllers'.
    pub serves: Serves,
}

/// Whose APIs a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// What a broker answers.
    Broker,
    /// What a controller answers.
    Controller,
}

/// A request without its body.
#[derive(Debug, Clone)]
pub struct Call {
    /// What is asked.
    pub key: ApiKey,
    /// In which version.
    pub version: i16,
    /// What the client calls the request.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Str>,
    /// Where it came in.
    pub listener: Arc<ListenerRole>,
    /// Where it came from.
    pub peer: SocketAddr,
    /// When its last byte was read.
    pub received: Moment,
}

/// The length in front of every frame.
const LENGTH_BYTES: usize = 4;

impl Call {
    /// The frame of a response; closes the connection if the response has no bytes in this version, which is a
    /// mistake of ours that must not stop the server.
    pub fn respond(&self, message: &impl Message) -> Response {
        match self.encode(128, |writer| message.encode(writer, self.version)) {
            Ok(writer) => Response::bytes(finish(writer)),
            Err(error) => self.unwritable(&error),
        }
    }

    /// The header of a response and what `write` puts behind it.
    pub fn encode(
        &self,
        capacity: usize,
        write: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<Writer, EncodeError> {
        let mut writer = Writer::with_capacity(capacity);
        writer.i32(0); // the length, once it is known
        writer.i32(self.correlation_id);
        if response_header_version(self.key, self.version) >= 1 {
            writer.tagged_field_count(0)?;
        }
        write(&mut writer)?;
        let len = writer.len() - LENGTH_BYTES;
        writer.patch_i32(0, i32::try_from(len).map_err(|_| EncodeError::Length(len))?);
        Ok(writer)
    }

    /// What is left to do with a response that has no bytes.
    pub fn unwritable(&self, error: &EncodeError) -> Response {
        tracing::error!(api = self.key.name(), version = self.version, %error, "a response cannot be written");
        Response::close()
    }

    /// Whether the Java admin client asks: it alone may write to internal topics.
    pub fn is_from_admin_client(&self) -> bool {
        self.client_id.as_deref() == Some("__admin_client")
    }
}

fn finish(writer: Writer) -> Bytes {
    writer.into_bytes()
}
