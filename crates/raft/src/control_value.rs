//! The values of control records, between what they mean and Kafka's schemas.

use bytes::Bytes;
use ottla_base::{NodeId, Str, Timestamp};
use ottla_record::ControlType;
use ottla_wire::records::control::{
    Endpoint, KRaftVersionFeature, KRaftVersionRecord, LeaderChangeMessage, LeaderChangeVoter,
    SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord, VotersVoter,
};
use ottla_wire::{DecodeError, Message, Reader, Writer};

use crate::control::ControlRecord;
use crate::ids::ReplicaKey;
use crate::voters::{Address, Endpoints, KRaftVersion, Voter, VoterSet};

/// The version in which every control record is written. The first field of each says so again; Kafka reads
/// what it does not know of later versions as this one.
const VERSION: i16 = 0;

impl ControlRecord {
    pub(crate) fn kind(&self) -> ControlType {
        match self {
            ControlRecord::LeaderChange { .. } => ControlType::LeaderChange,
            ControlRecord::SnapshotHeader { .. } => ControlType::SnapshotHeader,
            ControlRecord::SnapshotFooter => ControlType::SnapshotFooter,
            ControlRecord::KRaftVersion(_) => ControlType::KraftVersion,
            ControlRecord::Voters(_) => ControlType::KraftVoters,
            ControlRecord::Other(kind) => *kind,
        }
    }

    pub(crate) fn to_value(&self) -> Bytes {
        match self {
            ControlRecord::LeaderChange { leader, voters, granting } => {
                let voters_of = |ids: &[NodeId]| {
                    let voter = |id: &NodeId| LeaderChangeVoter { voter_id: id.0, ..Default::default() };
                    ids.iter().map(voter).collect()
                };
                encode(&LeaderChangeMessage {
                    leader_id: leader.0,
                    voters: voters_of(voters),
                    granting_voters: voters_of(granting),
                    ..Default::default()
                })
            }
            ControlRecord::SnapshotHeader { last_contained_log_timestamp } => encode(&SnapshotHeaderRecord {
                last_contained_log_timestamp: last_contained_log_timestamp.0,
                ..Default::default()
            }),
            ControlRecord::SnapshotFooter => encode(&SnapshotFooterRecord::default()),
            ControlRecord::KRaftVersion(version) => {
                encode(&KRaftVersionRecord { k_raft_version: version.level(), ..Default::default() })
            }
            ControlRecord::Voters(voters) => encode(&voters_record(voters)),
            ControlRecord::Other(_) => Bytes::new(),
        }
    }

    pub(crate) fn from_value(kind: ControlType, value: &[u8]) -> Result<ControlRecord, DecodeError> {
        Ok(match kind {
            ControlType::LeaderChange => {
                let message: LeaderChangeMessage = decode(value)?;
                let ids = |voters: Vec<LeaderChangeVoter>| {
                    voters.into_iter().map(|voter| NodeId(voter.voter_id)).collect()
                };
                ControlRecord::LeaderChange {
                    leader: NodeId(message.leader_id),
                    voters: ids(message.voters),
                    granting: ids(message.granting_voters),
                }
            }
            ControlType::SnapshotHeader => {
                let header: SnapshotHeaderRecord = decode(value)?;
                let last_contained_log_timestamp = Timestamp(header.last_contained_log_timestamp);
                ControlRecord::SnapshotHeader { last_contained_log_timestamp }
            }
            ControlType::SnapshotFooter => ControlRecord::SnapshotFooter,
            ControlType::KraftVersion => {
                let level = decode::<KRaftVersionRecord>(value)?.k_raft_version;
                let version = KRaftVersion::of_level(level);
                let unknown = DecodeError::UnknownRecord { record_type: kind.id(), version: level };
                ControlRecord::KRaftVersion(version.ok_or(unknown)?)
            }
            ControlType::KraftVoters => ControlRecord::Voters(voters_of(decode(value)?)),
            ControlType::Abort | ControlType::Commit | ControlType::Unknown(_) => ControlRecord::Other(kind),
        })
    }
}

fn encode<M: Message>(message: &M) -> Bytes {
    let mut writer = Writer::with_capacity(64);
    message.encode(&mut writer, VERSION).expect("version 0 has every field that is set");
    writer.into_bytes()
}

/// Reads a value; what a later version may have put behind it is left alone.
fn decode<M: Message>(value: &[u8]) -> Result<M, DecodeError> {
    M::decode(&mut Reader::new(Bytes::copy_from_slice(value)), VERSION)
}

fn voters_record(voters: &VoterSet) -> VotersRecord {
    let endpoint = |(name, address): (&str, &Address)| Endpoint {
        name: Str::from(name),
        host: Str::from(address.host.as_str()),
        port: address.port,
        ..Default::default()
    };
    let voter = |voter: &Voter| VotersVoter {
        voter_id: voter.key.id.0,
        voter_directory_id: voter.key.directory,
        endpoints: voter.endpoints.iter().map(endpoint).collect(),
        k_raft_version_feature: KRaftVersionFeature {
            min_supported_version: voter.kraft_versions.0,
            max_supported_version: voter.kraft_versions.1,
            ..Default::default()
        },
        ..Default::default()
    };
    VotersRecord { voters: voters.iter().map(voter).collect(), ..Default::default() }
}

fn voters_of(record: VotersRecord) -> VoterSet {
    let endpoint = |it: Endpoint| (it.name.to_string(), Address::new(it.host.as_str(), it.port));
    let voter = |it: VotersVoter| {
        let feature = it.k_raft_version_feature;
        Voter {
            key: ReplicaKey::new(NodeId(it.voter_id), it.voter_directory_id),
            endpoints: it.endpoints.into_iter().map(endpoint).collect::<Endpoints>(),
            kraft_versions: (feature.min_supported_version, feature.max_supported_version),
        }
    };
    record.voters.into_iter().map(voter).collect()
}
