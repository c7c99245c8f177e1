//! What the members of the metadata quorum ask of each other, and what is asked about it.
//!
//! Vote (52, versions 0 to 2), BeginQuorumEpoch (53, 0 to 1), EndQuorumEpoch (54, 0 to 1), DescribeQuorum (55, 0 to 2),
//! FetchSnapshot (59, 0 to 1), AddRaftVoter (80, 0 to 1), RemoveRaftVoter (81, 0), UpdateRaftVoter (82, 0), and Fetch
//! (1) of the metadata log at a controller's listener. The raft machine answers; see `ottla_raft`.

use std::sync::Arc;

use ottla_net::{Answer, Response};
use ottla_wire::Request;

use crate::broker::Broker;
use crate::call::Call;

/// Hands a request to the quorum and its answer back.
pub fn ask(broker: &Arc<Broker>, call: Call, request: Request) -> Answer {
    let broker = broker.clone();
    Answer::later(async move {
        match broker.controller.raft(request, call.version).await {
            Ok(response) => {
                let written = call.encode(256, |writer| response.encode(writer, call.version));
                match written {
                    Ok(writer) => Response::bytes(writer.into_bytes()),
                    Err(error) => call.unwritable(&error),
                }
            }
            Err(code) => {
                tracing::info!(api = call.key.name(), %code, "the quorum did not answer");
                Response::close()
            }
        }
    })
}
