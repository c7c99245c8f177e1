//! A deadline that moves often and passes seldom.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use ottla_base::Moment;
use tokio::time::Sleep;

use crate::handle::Host;

/// Waits for a deadline that its owner moves at will. Moving it later costs nothing: the timer fires at the
/// old deadline and is set again.
pub struct Timer {
    host: Host,
    sleep: Option<Pin<Box<Sleep>>>,
    armed_for: Option<Moment>,
}

impl Timer {
    /// A timer of this host. Needs a tokio runtime when it is polled.
    pub fn new(host: &Host) -> Timer {
        Timer { host: host.clone(), sleep: None, armed_for: None }
    }

    /// Ready once `deadline` has passed.
    #[expect(clippy::disallowed_methods, reason = "this is part of what the ban names as its replacement")]
    pub fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Moment) -> Poll<()> {
        loop {
            if self.armed_for.is_none_or(|armed| armed > deadline) {
                let remaining = deadline.since(self.host.now());
                if remaining.is_zero() {
                    return Poll::Ready(());
                }
                match &mut self.sleep {
                    Some(sleep) => sleep.as_mut().reset(tokio::time::Instant::now() + remaining),
                    None => self.sleep = Some(Box::pin(tokio::time::sleep(remaining))),
                }
                self.armed_for = Some(deadline);
            }
            let Some(sleep) = &mut self.sleep else {
                return Poll::Pending;
            };
            std::task::ready!(sleep.as_mut().poll(cx));
            self.armed_for = None;
        }
    }
}
