//! The controller while this node leads: it decides, the log remembers, and callers are answered when it does.

use bytes::Bytes;
use ottla_base::{ErrorCode, LeaderEpoch, Moment, Now, Offset};
use ottla_machine::{Append, Atomicity, Input, Seat};
use ottla_metadata::Record;
use ottla_metadata::controller::{Controller, Reply, Request};
use ottla_raft::MAX_BATCH_BYTES;
use tokio::sync::oneshot;

/// Who waits for the controller's answer; nobody for what this node asks of itself.
pub(super) type Caller = Option<oneshot::Sender<Result<Reply, ErrorCode>>>;

/// The controller's seat in one epoch.
pub(super) enum ControllerSeat {
    /// This node does not lead.
    Empty,
    /// This node leads since `epoch_start`, but not everything before is applied.
    Waiting { epoch: LeaderEpoch, epoch_start: Offset },
    /// This node decides.
    Taken { epoch: LeaderEpoch, seat: Box<Seat<Controller, Caller>> },
}

/// Decisions as the quorum takes them: values of one batch each.
pub(super) struct Proposals {
    pub(super) epoch: LeaderEpoch,
    pub(super) batches: Vec<Vec<Bytes>>,
}

/// A decision has more bytes than a batch may have, or cannot be written at all. The seat knows what the log never
/// will: it has to be given up.
#[derive(Debug)]
pub(super) struct Unwritable(pub(super) String);

impl ControllerSeat {
    /// Whether this node decides.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, ControllerSeat::Taken { .. })
    }

    /// When the controller wants to be looked at.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match self {
            ControllerSeat::Taken { seat, .. } => seat.deadline(),
            _ => None,
        }
    }

    /// Decides. `None` if nobody decides here; then the caller has been told.
    pub(super) fn decide(
        &mut self,
        input: Input<Controller, Caller>,
        now: Now,
    ) -> Result<Option<Proposals>, Unwritable> {
        let ControllerSeat::Taken { epoch, seat } = self else {
            if let Input::Request(_, caller) = input {
                refuse(caller);
            }
            return Ok(None);
        };
        let append = seat.submit(input, now);
        let batches = batches_of(append)?;
        Ok(Some(Proposals { epoch: *epoch, batches }))
    }

    /// The request as an input.
    pub(super) fn request(request: Request, caller: Caller) -> Input<Controller, Caller> {
        Input::Request(request, caller)
    }

    /// The log has grown by records of the quorum.
    pub(super) fn log_grew(&mut self, end: Offset) {
        if let ControllerSeat::Taken { seat, .. } = self {
            seat.log_grew(end);
        }
    }

    /// The log is committed up to `end`: answers whoever waited for that.
    pub(super) fn committed(&mut self, end: Offset) {
        let ControllerSeat::Taken { seat, .. } = self else { return };
        let released = seat.committed(end);
        for (caller, reply) in released.replies {
            if let Some(caller) = caller {
                // Who does not wait any more need not know.
                let _ = caller.send(Ok(reply));
            }
        }
    }

    /// Gives the seat up; whoever waits is told to look elsewhere.
    pub(super) fn leave(&mut self) {
        if let ControllerSeat::Taken { seat, .. } = std::mem::replace(self, ControllerSeat::Empty) {
            seat.leave().for_each(refuse);
        }
    }
}

fn refuse(caller: Caller) {
    if let Some(caller) = caller {
        let _ = caller.send(Err(ErrorCode::NotController));
    }
}

/// What the varints and the header around a record's value have at most.
const OVERHEAD_BYTES: usize = 32;

fn batches_of(append: Append<Record>) -> Result<Vec<Vec<Bytes>>, Unwritable> {
    let limit = MAX_BATCH_BYTES - 1024;
    let mut batches = Vec::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for record in &append.records {
        let value = record.encode().map_err(|error| Unwritable(error.to_string()))?;
        let more = value.len() + OVERHEAD_BYTES;
        if bytes + more > limit {
            if append.atomicity == Atomicity::Together || batch.is_empty() {
                return Err(Unwritable(format!("a decision has more than {limit} bytes")));
            }
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        batch.push(value);
        bytes += more;
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    Ok(batches)
}
