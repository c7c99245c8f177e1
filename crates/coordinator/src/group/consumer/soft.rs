//! What dies with the seat: which regular expressions were looked up since, and when which member is given up.

use std::collections::BTreeMap;

use ottla_base::Str;

/// Why to look at a consumer group again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::group) enum Due {
    /// A member has been silent for too long.
    Session(MemberName),
    /// A member has not given up its partitions in time.
    Revocation(MemberName),
    /// A member that speaks the classic protocol has not joined again in time.
    Join(MemberName),
    /// A member that speaks the classic protocol has not asked for its assignment in time.
    Sync(MemberName),
    /// The topics of a group's regular expressions are to be looked up.
    Regexes(Str),
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::group) struct MemberName {
    pub(in crate::group) group: Str,
    pub(in crate::group) member: Str,
}

/// What a seat remembers of consumer groups.
#[derive(Debug, Default)]
pub(in crate::group) struct ConsumerSoft {
    /// How many times topics had been created when a group's regular expressions were last looked up.
    pub(super) looked_up: BTreeMap<Str, u64>,
}

impl MemberName {
    pub(in crate::group) fn of(group: &Str, member: &Str) -> MemberName {
        MemberName { group: group.clone(), member: member.clone() }
    }
}
