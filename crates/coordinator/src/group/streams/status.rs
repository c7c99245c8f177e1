//! What an answer to a heartbeat says of the group beside tasks (`StreamsGroupHeartbeatResponse.Status`).

use ottla_wire::messages::streams_group_heartbeat_response as told;

/// What the application should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    code: StatusCode,
    detail: String,
}

/// What kind of thing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusCode {
    /// The member runs an older topology than the group.
    StaleTopology = 0,
    /// Topics that the topology reads do not exist.
    MissingSourceTopics = 1,
    /// Topics have other numbers of partitions than the topology needs.
    IncorrectlyPartitionedTopics = 2,
    /// The group's own topics do not exist.
    MissingInternalTopics = 3,
    /// A member wants the whole application to end.
    ShutdownApplication = 4,
    /// The assignment is delayed on purpose.
    AssignmentDelayed = 5,
    /// The member lacks tags that the assignor is to spread standbys by.
    MissingClientTags = 6,
}

impl Status {
    pub(super) fn new(code: StatusCode, detail: impl Into<String>) -> Status {
        Status { code, detail: detail.into() }
    }

    /// As an answer says it.
    pub(super) fn told(&self) -> told::Status {
        let detail = self.detail.as_str().into();
        told::Status { status_code: self.code as i8, status_detail: detail, ..Default::default() }
    }
}
