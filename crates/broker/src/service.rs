//! Between a connection and the handlers: headers are read, versions checked, times taken.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_base::Moment;
use ottla_net::{Answer, Peer, Response, Service};
use ottla_wire::{ApiKey, DecodeError, Reader, Request, request_header_version};

use crate::broker::Broker;
use crate::call::{Call, ListenerRole, Serves};
use crate::metrics::requests::{ApiMetrics, RequestTimes};
use crate::share::ConnectionKey;
use crate::{api, dispatch};

/// The service of one connection.
pub(crate) struct ConnectionService {
    broker: Arc<Broker>,
    listener: Arc<ListenerRole>,
    peer: Peer,
}

impl ConnectionService {
    /// For a connection that came in at a listener.
    pub(crate) fn new(broker: Arc<Broker>, listener: Arc<ListenerRole>, peer: Peer) -> ConnectionService {
        ConnectionService { broker, listener, peer }
    }
}

impl Drop for ConnectionService {
    /// Share sessions end with the connection that they began on.
    fn drop(&mut self) {
        let connection = ConnectionKey { listener: self.listener.name.clone(), peer: self.peer.address };
        self.broker.share.disconnected(&self.broker, &connection);
    }
}

/// Why a frame is not a request.
#[derive(Debug, thiserror::Error)]
enum InvalidRequest {
    #[error("no API has key {0}")]
    UnknownApi(i16),
    #[error("this listener does not serve {0}")]
    NotServed(&'static str),
    #[error("{0} has no version {1}")]
    UnknownVersion(&'static str, i16),
    #[error("the bytes are not a request: {0}")]
    Malformed(#[from] DecodeError),
}

/// A request whose answer is still to come.
pub(crate) struct Unfinished {
    key: ApiKey,
    received: Moment,
    /// How long the first stage took.
    local: Duration,
}

impl Service for ConnectionService {
    type Note = Option<Unfinished>;

    fn dispatch(&mut self, frame: Bytes, received: Moment) -> (Answer, Option<Unfinished>) {
        match self.begin(frame, received) {
            Ok(begun) => begun,
            Err(error) => {
                // As Kafka: whoever does not speak the protocol is not talked to.
                tracing::info!(peer = %self.peer.address, listener = %self.listener.name, %error, "connection closed");
                (Response::close().into(), None)
            }
        }
    }

    /// Notes how long the answer was waited for.
    fn answered(&mut self, unfinished: Option<Unfinished>) {
        let Some(Unfinished { key, received, local }) = unfinished else { return };
        let total = self.broker.host.now().since(received);
        let remote = total.checked_sub(local).unwrap_or(Duration::ZERO);
        if let Some(metrics) = self.broker.metrics.requests.api(key as i16, key.name()) {
            metrics.sent(RequestTimes { local, remote, ..RequestTimes::default() });
        }
    }
}

impl ConnectionService {
    fn begin(&self, frame: Bytes, received: Moment) -> Result<(Answer, Option<Unfinished>), InvalidRequest> {
        let bytes = frame.len();
        let mut reader = Reader::new(frame);
        let key = reader.i16()?;
        let version = reader.i16()?;
        let correlation_id = reader.i32()?;
        let key = ApiKey::from_key(key).ok_or(InvalidRequest::UnknownApi(key))?;
        let mut call = Call {
            key,
            version,
            correlation_id,
            client_id: None,
            listener: self.listener.clone(),
            peer: self.peer.address,
            received,
        };
        if !dispatch::is_served(key, self.listener.serves) {
            return Err(InvalidRequest::NotServed(key.name()));
        }
        let metrics = self.broker.metrics.requests.api(key as i16, key.name());
        let supported = key.first_version()..=dispatch::last_version(key);
        if !supported.contains(&version) {
            if key == ApiKey::ApiVersions {
                // A newer client learns from an answer in the oldest layout which versions there are.
                return Ok((api::api_versions::unsupported(&self.broker, call).into(), None));
            }
            return Err(InvalidRequest::UnknownVersion(key.name(), version));
        }
        call.client_id = reader.nullable_string(false)?;
        if request_header_version(key, version) >= 2 {
            skip_tagged_fields(&mut reader)?;
        }
        // Bytes behind the message are nobody's: librdkafka sends some, and Kafka does not look at them.
        let request = Request::decode(key, &mut reader, version)?;
        let Some(metrics) = metrics else { return Err(InvalidRequest::UnknownApi(key as i16)) };
        metrics.received(version, bytes);
        Ok(self.timed(dispatch::dispatch(&self.broker, call, request), metrics, received, key))
    }

    /// Notes where the time of a request goes.
    fn timed(
        &self,
        answer: Answer,
        metrics: &ApiMetrics,
        received: Moment,
        key: ApiKey,
    ) -> (Answer, Option<Unfinished>) {
        let local = self.broker.host.now().since(received);
        match answer {
            Answer::Ready(_) => {
                metrics.sent(RequestTimes { local, ..RequestTimes::default() });
                (answer, None)
            }
            Answer::Later(_) | Answer::Patient(_) => (answer, Some(Unfinished { key, received, local })),
        }
    }
}

fn skip_tagged_fields(reader: &mut Reader) -> Result<(), DecodeError> {
    for _ in 0..reader.tagged_field_count()? {
        reader.tagged_field()?;
    }
    Ok(())
}

/// Which APIs a listener of this kind serves, for its `ApiVersions`.
pub(crate) fn served_by(serves: Serves) -> impl Iterator<Item = ApiKey> {
    ApiKey::ALL.iter().copied().filter(move |key| dispatch::is_served(*key, serves))
}

#[cfg(test)]
mod tests;
