//! What can go wrong, by what the caller should do about it.

use std::sync::Arc;
use std::time::Duration;

use ottla_base::settings::InvalidSetting;
use ottla_base::{ErrorCode, Retriability, Str};
use ottla_net::client::RequestError;
use ottla_record::RecordsError;

/// Why a call did not give what was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No server could be talked to: start one, or correct the address.
    #[error("{0}")]
    Unreachable(Arc<str>),
    /// The time given to the call ran out. What was asked may have been done: look before asking again.
    #[error("{what} took longer than {} ms{}", limit.as_millis(), last_cause(cause))]
    TimedOut {
        /// What was being done.
        what: &'static str,
        /// How long it was given.
        limit: Duration,
        /// What went wrong last.
        cause: Option<Arc<Error>>,
    },
    /// The connection ended during the call. What was asked may have been done.
    #[error("the connection to {server} ended: {reason}")]
    Disconnected {
        /// Who was at the other end.
        server: Arc<str>,
        /// Why it ended.
        reason: Arc<str>,
    },
    /// The server said no: the code tells why.
    #[error("{0}")]
    Refused(Refusal),
    /// Another program with the same `transactional.id` or `group.instance.id` has taken over: this one should end.
    #[error("another took over: {0}")]
    Fenced(Refusal),
    /// The server is too old, or too new, for what was asked: use another server or another call.
    #[error("{0}")]
    Unsupported(Arc<str>),
    /// The arguments or options make no sense: correct them.
    #[error("{0}")]
    Invalid(Arc<str>),
    /// What the server sent is damaged, or is not Kafka's protocol.
    #[error("{0}")]
    Corrupt(Arc<str>),
    /// The client was closed, or can no longer do this: make a new one.
    #[error("{0}")]
    Closed(Arc<str>),
}

/// A server's answer that it will not, or cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: ErrorCode,
    /// The server's words, if it had any.
    pub message: Option<Str>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let message = self.message.as_deref().filter(|it| !it.is_empty());
        write!(to, "{} ({})", message.unwrap_or(self.code.message()), self.code.name())
    }
}

impl Refusal {
    /// Whether trying again can help.
    pub fn is_retriable(&self) -> bool {
        self.code.retriability() == Retriability::Retriable
    }
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Error {
        Error::Refused(Refusal { code, message: None })
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Refused(refusal)
    }
}

impl From<InvalidSetting> for Error {
    fn from(error: InvalidSetting) -> Error {
        Error::Invalid(error.to_string().into())
    }
}

impl From<RecordsError> for Error {
    fn from(error: RecordsError) -> Error {
        Error::Corrupt(error.to_string().into())
    }
}

impl Error {
    /// A complaint about arguments or options.
    pub(crate) fn invalid(message: impl Into<Arc<str>>) -> Error {
        Error::Invalid(message.into())
    }

    /// What a request's error means when it was sent to `server`.
    pub(crate) fn of_request(error: RequestError, server: &Arc<str>) -> Error {
        match error {
            RequestError::Disconnected(reason) => Error::Disconnected { server: server.clone(), reason },
            RequestError::TimedOut => {
                Error::Disconnected { server: server.clone(), reason: error.to_string().into() }
            }
            RequestError::Encode(_) => Error::Unsupported(format!("{error} (server {server})").into()),
            RequestError::Decode(_) => {
                Error::Corrupt(format!("{server} sent what is not an answer of Kafka's: {error}").into())
            }
        }
    }

    /// The same, or that another took over, if that is what the refusal means.
    pub(crate) fn fencing(self) -> Error {
        match self {
            Error::Refused(refusal)
                if matches!(
                    refusal.code,
                    ErrorCode::ProducerFenced
                        | ErrorCode::InvalidProducerEpoch
                        | ErrorCode::FencedInstanceId
                        | ErrorCode::UnreleasedInstanceId
                ) =>
            {
                Error::Fenced(refusal)
            }
            error => error,
        }
    }

    /// Whether trying again can help.
    pub fn is_retriable(&self) -> bool {
        match self {
            Error::Unreachable(_) | Error::TimedOut { .. } | Error::Disconnected { .. } => true,
            Error::Refused(refusal) => refusal.is_retriable(),
            Error::Fenced(_)
            | Error::Unsupported(_)
            | Error::Invalid(_)
            | Error::Corrupt(_)
            | Error::Closed(_) => false,
        }
    }

    /// The server's refusal, if it was one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Refused(refusal) | Error::Fenced(refusal) => Some(refusal.code),
            Error::TimedOut { cause: Some(cause), .. } => cause.code(),
            _ => None,
        }
    }
}

/// A code and its message as a result.
pub(crate) fn refused(code: i16, message: Option<&Str>) -> Result<(), Error> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(Error::Refused(Refusal { code, message: message.map(Str::detached) })),
    }
}

fn last_cause(cause: &Option<Arc<Error>>) -> String {
    cause.as_ref().map(|it| format!(": {it}")).unwrap_or_default()
}
