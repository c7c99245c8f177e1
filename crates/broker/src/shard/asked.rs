//! An answer that is here or will come.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use ottla_base::ErrorCode;
use ottla_net::{Answer, Response};
use tokio::sync::oneshot;

/// What a shard gives to a caller: the answer, or why there is none.
pub(crate) type Given<R> = Result<R, ErrorCode>;

/// What was asked of a shard. The request has been put before the coordinator already; waiting is all that is left.
#[derive(Debug)]
pub(crate) enum Asked<R> {
    /// The answer is here; nothing once it was taken.
    Here(Option<Given<R>>),
    /// The answer will come. A shard that is given up says so by dropping its end.
    Coming(oneshot::Receiver<Given<R>>),
}

impl<R> Asked<R> {
    /// There is no answer, for this reason.
    pub(crate) fn refused(code: ErrorCode) -> Asked<R> {
        Asked::Here(Some(Err(code)))
    }

    /// Looks whether the answer has come.
    pub(super) fn arrived(mut receiver: oneshot::Receiver<Given<R>>) -> Asked<R> {
        match receiver.try_recv() {
            Ok(given) => Asked::Here(Some(given)),
            Err(oneshot::error::TryRecvError::Empty) => Asked::Coming(receiver),
            Err(oneshot::error::TryRecvError::Closed) => Asked::refused(ErrorCode::NotCoordinator),
        }
    }
}

impl<R: Unpin> Future for Asked<R> {
    type Output = Given<R>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Given<R>> {
        match self.get_mut() {
            // A future is not polled again once it was ready; if it is, there is nothing to give.
            Asked::Here(given) => Poll::Ready(given.take().unwrap_or(Err(ErrorCode::UnknownServerError))),
            Asked::Coming(receiver) => {
                Pin::new(receiver).poll(context).map(|it| it.unwrap_or(Err(ErrorCode::NotCoordinator)))
            }
        }
    }
}

/// The answer to a request that is answered as soon as one shard has: at once if that is now.
pub(crate) fn answer<R: Send + Unpin + 'static>(
    asked: Asked<R>,
    respond: impl FnOnce(Given<R>) -> Response + Send + 'static,
) -> Answer {
    match asked {
        Asked::Here(Some(given)) => respond(given).into(),
        asked => Answer::later(async move { respond(asked.await) }),
    }
}
