//! The voters of the quorum: who they are, where they listen, and which `kraft.version` they can speak.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use ottla_base::{NodeId, Uuid};

use crate::ids::ReplicaKey;

/// A host name or address and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name or an address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Address {
    /// The address `host`:`port`.
    pub fn new(host: impl Into<String>, port: u16) -> Address {
        Address { host: host.into(), port }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Where a node listens: addresses by listener name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoints(BTreeMap<String, Address>);

impl Endpoints {
    /// One listener.
    pub fn one(listener: impl Into<String>, address: Address) -> Endpoints {
        Endpoints(BTreeMap::from([(listener.into(), address)]))
    }

    /// The address of a listener.
    pub fn address(&self, listener: &str) -> Option<&Address> {
        self.0.get(listener)
    }

    /// All listeners by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Address)> {
        self.0.iter().map(|(name, address)| (name.as_str(), address))
    }

    /// How many listeners are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no listener is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Address)> for Endpoints {
    fn from_iter<I: IntoIterator<Item = (String, Address)>>(listeners: I) -> Endpoints {
        Endpoints(listeners.into_iter().collect())
    }
}

/// The feature `kraft.version`: whether the voter set lives in the log (KIP-853).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum KRaftVersion {
    /// Voters come from `controller.quorum.voters` and never change.
    #[default]
    Static,
    /// Voters are records of the log and are added, removed and updated while the quorum runs.
    Dynamic,
}

impl KRaftVersion {
    /// The levels this implementation speaks.
    pub const SUPPORTED: RangeInclusive<i16> = 0..=1;

    /// The version of a feature level; `None` for a level from the future.
    pub fn of_level(level: i16) -> Option<KRaftVersion> {
        match level {
            0 => Some(KRaftVersion::Static),
            1 => Some(KRaftVersion::Dynamic),
            _ => None,
        }
    }

    /// The feature level.
    pub fn level(self) -> i16 {
        match self {
            KRaftVersion::Static => 0,
            KRaftVersion::Dynamic => 1,
        }
    }

    /// Whether voters may be added and removed.
    pub fn is_dynamic(self) -> bool {
        self == KRaftVersion::Dynamic
    }
}

/// One voter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// Node and directory.
    pub key: ReplicaKey,
    /// Where it listens as a controller.
    pub endpoints: Endpoints,
    /// The levels of `kraft.version` it can speak, as `(lowest, highest)`.
    pub kraft_versions: (i16, i16),
}

impl Voter {
    /// Whether the voter can speak `version`.
    pub fn supports(&self, version: KRaftVersion) -> bool {
        (self.kraft_versions.0..=self.kraft_versions.1).contains(&version.level())
    }
}

/// The voters by node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VoterSet(BTreeMap<NodeId, Voter>);

impl VoterSet {
    /// Whether there are no voters.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many voters there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The voters in the order of their nodes.
    pub fn iter(&self) -> impl Iterator<Item = &Voter> {
        self.0.values()
    }

    /// The nodes of the voters.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.0.keys().copied()
    }

    /// The voter of a node, whatever its directory.
    pub fn get(&self, id: NodeId) -> Option<&Voter> {
        self.0.get(&id)
    }

    /// Whether the replica votes.
    pub fn contains(&self, key: ReplicaKey) -> bool {
        self.get(key.id).is_some_and(|voter| voter.key.names(key))
    }

    /// Whether the replica is the only voter.
    pub fn is_only(&self, key: ReplicaKey) -> bool {
        self.len() == 1 && self.contains(key)
    }

    /// Where a voter listens; nowhere if the node does not vote.
    pub fn endpoints(&self, id: NodeId) -> Endpoints {
        self.get(id).map(|voter| voter.endpoints.clone()).unwrap_or_default()
    }

    /// Whether the set knows this voter but not as it is now.
    pub fn needs_update(&self, voter: &Voter) -> bool {
        self.get(voter.key.id).is_some_and(|known| known.key.names(voter.key) && known != voter)
    }

    /// The set with one more voter; `None` if the node votes already.
    pub fn with(&self, voter: Voter) -> Option<VoterSet> {
        if self.0.contains_key(&voter.key.id) {
            return None;
        }
        let mut voters = self.0.clone();
        voters.insert(voter.key.id, voter);
        Some(VoterSet(voters))
    }

    /// The set with one voter less; `None` if the replica does not vote or is the last one.
    pub fn without(&self, key: ReplicaKey) -> Option<VoterSet> {
        if self.len() < 2 || self.get(key.id).is_none_or(|voter| voter.key != key) {
            return None;
        }
        let mut voters = self.0.clone();
        voters.remove(&key.id);
        Some(VoterSet(voters))
    }

    /// The set with a voter as it is now; `None` if the replica does not vote.
    pub fn updated(&self, voter: Voter) -> Option<VoterSet> {
        if !self.contains(voter.key) {
            return None;
        }
        self.updated_ignoring_directory(voter)
    }

    /// The set with a voter as it is now, its directory too; `None` if the node does not vote.
    pub fn updated_ignoring_directory(&self, voter: Voter) -> Option<VoterSet> {
        let mut voters = self.0.clone();
        let place = voters.get_mut(&voter.key.id)?;
        *place = voter;
        Some(VoterSet(voters))
    }

    /// Whether every voter can speak `version`.
    pub fn supports(&self, version: KRaftVersion) -> bool {
        self.iter().all(|voter| voter.supports(version))
    }

    /// Whether two sets differ by at most one voter each way, so that their majorities overlap (K3).
    pub fn overlaps(&self, other: &VoterSet) -> bool {
        let missing = |from: &VoterSet, of: &VoterSet| {
            of.iter().filter(|voter| from.get(voter.key.id).is_none_or(|it| it.key != voter.key)).count()
        };
        missing(self, other) <= 1 && missing(other, self) <= 1
    }

    /// Static voters from `controller.quorum.voters`: `id@host:port`, separated by commas. They are known by
    /// the listener `listener`, and nothing is known of their directories.
    pub fn parse_static(text: &str, listener: &str) -> Result<VoterSet, InvalidVoter> {
        let mut voters = VoterSet::default();
        for text in split_list(text) {
            let (id, rest) = split_id(text)?;
            let (host, rest) = split_host(text, rest)?;
            let port = parse_port(text, rest)?;
            let voter = Voter {
                key: ReplicaKey::new(id, Uuid::ZERO),
                endpoints: Endpoints::one(listener, Address::new(host, port)),
                kraft_versions: (0, 0),
            };
            voters = voters.with(voter).ok_or_else(|| InvalidVoter::new(text, "the node is named twice"))?;
        }
        Ok(voters)
    }

    /// Voters as `--initial-controllers` names them: `id@host:port:directory`, separated by commas (KIP-853).
    pub fn parse_initial(text: &str, listener: &str) -> Result<VoterSet, InvalidVoter> {
        let mut voters = VoterSet::default();
        for text in split_list(text) {
            let (id, rest) = split_id(text)?;
            let (host, rest) = split_host(text, rest)?;
            let (port, directory) =
                rest.split_once(':').ok_or_else(|| InvalidVoter::new(text, "no colon follows the port"))?;
            let directory = directory
                .parse()
                .map_err(|_| InvalidVoter::new(text, "the directory id is not a 22-character id"))?;
            let voter = Voter {
                key: ReplicaKey::new(id, directory),
                endpoints: Endpoints::one(listener, Address::new(host, parse_port(text, port)?)),
                kraft_versions: (*KRaftVersion::SUPPORTED.start(), *KRaftVersion::SUPPORTED.end()),
            };
            voters = voters.with(voter).ok_or_else(|| InvalidVoter::new(text, "the node is named twice"))?;
        }
        if voters.is_empty() {
            return Err(InvalidVoter::new(text, "no voters given"));
        }
        Ok(voters)
    }
}

impl FromIterator<Voter> for VoterSet {
    fn from_iter<I: IntoIterator<Item = Voter>>(voters: I) -> VoterSet {
        VoterSet(voters.into_iter().map(|voter| (voter.key.id, voter)).collect())
    }
}

impl fmt::Display for VoterSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|voter| voter.key)).finish()
    }
}

/// Text that names no voter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidVoter {
    text: String,
    reason: &'static str,
}

impl InvalidVoter {
    fn new(text: &str, reason: &'static str) -> InvalidVoter {
        InvalidVoter { text: text.to_owned(), reason }
    }
}

impl fmt::Display for InvalidVoter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "voter '{}': {}", self.text, self.reason)
    }
}

impl std::error::Error for InvalidVoter {}

fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|voter| !voter.is_empty())
}

fn split_id(text: &str) -> Result<(NodeId, &str), InvalidVoter> {
    let (id, rest) =
        text.split_once('@').ok_or_else(|| InvalidVoter::new(text, "no @ follows the node id"))?;
    let id = id.parse::<i32>().map_err(|_| InvalidVoter::new(text, "the node id is not a number"))?;
    if id < 0 {
        return Err(InvalidVoter::new(text, "the node id is negative"));
    }
    Ok((NodeId(id), rest))
}

/// The host, and what follows its colon.
fn split_host<'t>(text: &str, rest: &'t str) -> Result<(&'t str, &'t str), InvalidVoter> {
    if let Some(inside) = rest.strip_prefix('[') {
        let (host, rest) =
            inside.split_once(']').ok_or_else(|| InvalidVoter::new(text, "no ] ends the address"))?;
        let rest =
            rest.strip_prefix(':').ok_or_else(|| InvalidVoter::new(text, "no colon follows the host"))?;
        return Ok((host, rest));
    }
    rest.split_once(':').ok_or_else(|| InvalidVoter::new(text, "no colon follows the host"))
}

fn parse_port(text: &str, port: &str) -> Result<u16, InvalidVoter> {
    port.parse().map_err(|_| InvalidVoter::new(text, "the port is not between 0 and 65535"))
}
