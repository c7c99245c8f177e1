//! Elections: when a broker comes or goes, by request, and from time to time.

use ottla_base::{ErrorCode, NodeId, PartitionIndex, Uuid};
use ottla_wire::messages::elect_leaders_request::ElectLeadersRequest;
use ottla_wire::messages::elect_leaders_response::{
    ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use ottla_wire::records::metadata::MetadataRecord;

use super::configs::{MIN_ISR, UNCLEAN_ELECTION, is_true};
use super::{Decided, Deciding, MAX_RECORDS_PER_REQUEST, Refusal, parts, too_many_records};
use crate::image::{Partition, PartitionId, Topic};
use crate::partition_change::{Candidates, Election, PartitionChange};
use crate::reassignment::without;

/// The most leaders that are elected at one look from time to time.
const MAX_ELECTIONS_PER_LOOK: usize = 1_000;

/// Why partitions have to do without a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    /// The broker is fenced, shutting down, or starting anew.
    Leaves(NodeId),
    /// The broker came back without its last records: it is not even eligible.
    LostItsTail(NodeId),
    /// The broker's registration is removed. It stays eligible until it registers anew.
    IsForgotten(NodeId),
    /// One of the broker's directories is offline.
    LosesDirectory(NodeId, Uuid),
}

impl Deciding<'_> {
    /// The wish for a change of a partition, still without content.
    pub(super) fn wish<'p>(
        &'p self,
        topic: &Topic,
        id: PartitionId,
        partition: &'p Partition,
        candidates: Candidates<'p>,
    ) -> PartitionChange<'p> {
        PartitionChange::new(partition, id, candidates, &self.image.features, self.effective_min_isr(topic))
    }

    /// Whether a broker leads any partition.
    pub(super) fn leads_anything(&self, broker: NodeId) -> bool {
        self.image.topics.all_partitions().any(|(_, partition)| partition.leader == broker)
    }

    /// Whether a topic would rather lose records than be without a leader.
    pub(super) fn allows_unclean_election(&self, topic: &Topic) -> bool {
        let own = self.own_value(topic, UNCLEAN_ELECTION).map(|text| is_true(text));
        own.unwrap_or_else(|| self.inherited().unclean_election)
    }

    /// `min.insync.replicas`, as far as the topic's replicas go.
    fn effective_min_isr(&self, topic: &Topic) -> usize {
        let own = self.own_value(topic, MIN_ISR).and_then(|text| text.trim().parse().ok());
        let configured = own.unwrap_or_else(|| self.inherited().min_isr);
        let first = self.image.topics.partition(topic.id, PartitionIndex(0));
        first.map_or(configured, |partition| configured.min(partition.replicas.len()))
    }

    /// Takes a departing replica out of every ISR it is in, and elects other leaders.
    pub(super) fn update_partitions_for(&self, departure: Departure, records: &mut Vec<MetadataRecord>) {
        let affected: &dyn Fn(&Partition) -> bool = match departure {
            Departure::Leaves(broker) => &move |it| it.isr.contains(&broker),
            Departure::LostItsTail(broker) | Departure::IsForgotten(broker) => {
                &move |it| it.isr.contains(&broker) || it.elr.contains(&broker)
            }
            Departure::LosesDirectory(broker, directory) => {
                &move |it| it.directory_of(broker) == Some(directory)
            }
        };
        for (id, partition) in self.image.topics.all_partitions().filter(|(_, it)| affected(it)) {
            self.update_partition_for(departure, id, partition, records);
        }
    }

    /// As [`Deciding::update_partitions_for`], for one partition.
    pub(super) fn update_partition_for(
        &self,
        departure: Departure,
        id: PartitionId,
        partition: &Partition,
        records: &mut Vec<MetadataRecord>,
    ) {
        let Some(topic) = self.image.topics.get(id.topic) else { return };
        let (leaving, tailless) = match departure {
            Departure::LostItsTail(broker) => (NodeId::NONE, broker),
            Departure::Leaves(broker)
            | Departure::IsForgotten(broker)
            | Departure::LosesDirectory(broker, _) => (broker, NodeId::NONE),
        };
        let candidates =
            Candidates { except: [leaving, tailless], ..Candidates::active(&self.image.cluster) };
        let mut wish = self.wish(topic, id, partition, candidates);
        if self.allows_unclean_election(topic) {
            wish.election = Election::Unclean;
        }
        wish.unclean_shutdown = tailless;
        wish.isr = without(&partition.isr, &[leaving, tailless]);
        records.extend(wish.build().map(MetadataRecord::PartitionChangeRecord));
    }

    /// A broker may lead again: partitions without a leader may be waiting for it. What it has in `lost` directories
    /// it cannot lead.
    pub(super) fn elect_where_nobody_leads(
        &self,
        broker: NodeId,
        lost: &[Uuid],
        records: &mut Vec<MetadataRecord>,
    ) {
        let waits = |it: &Partition| {
            !it.has_leader() && !it.directory_of(broker).is_some_and(|at| lost.contains(&at))
        };
        let candidates = Candidates { besides: broker, ..Candidates::active(&self.image.cluster) };
        for (id, partition) in self.image.topics.all_partitions().filter(|(_, it)| waits(it)) {
            let Some(topic) = self.image.topics.get(id.topic) else { continue };
            let mut wish = self.wish(topic, id, partition, candidates);
            if self.allows_unclean_election(topic) {
                wish.election = Election::Unclean;
            }
            records.extend(wish.build().map(MetadataRecord::PartitionChangeRecord));
        }
    }

    /// Gives leaderships back to preferred leaders. True if there may be more to do.
    pub(super) fn balance_leaders(&self, records: &mut Vec<MetadataRecord>) -> bool {
        let imbalanced = |it: &Partition| it.leader != it.preferred_leader();
        self.elect_from_time_to_time(Election::Preferred, imbalanced, |_| true, records)
    }

    /// Elects anybody where nobody leads and the topic allows it. True if there may be more to do.
    pub(super) fn elect_unclean_leaders(&self, records: &mut Vec<MetadataRecord>) -> bool {
        let leaderless = |it: &Partition| !it.has_leader();
        let allowed = |topic: &Topic| self.allows_unclean_election(topic);
        self.elect_from_time_to_time(Election::Unclean, leaderless, allowed, records)
    }

    fn elect_from_time_to_time(
        &self,
        election: Election,
        needed: impl Fn(&Partition) -> bool,
        allowed: impl Fn(&Topic) -> bool,
        records: &mut Vec<MetadataRecord>,
    ) -> bool {
        for (id, partition) in self.image.topics.all_partitions().filter(|(_, it)| needed(it)) {
            if records.len() >= MAX_ELECTIONS_PER_LOOK {
                return true;
            }
            let Some(topic) = self.image.topics.get(id.topic).filter(|topic| allowed(topic)) else {
                continue;
            };
            let mut wish = self.wish(topic, id, partition, Candidates::active(&self.image.cluster));
            wish.election = election;
            records.extend(wish.build().map(MetadataRecord::PartitionChangeRecord));
        }
        false
    }

    fn elect_leader(
        &self,
        name: &str,
        index: PartitionIndex,
        election: Election,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<(), Refusal> {
        let unknown = |what: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, what);
        let topics = &self.image.topics;
        let topic = topics.named(name).ok_or_else(|| unknown(format!("No such topic as {name}")))?;
        let partition = topics.partition(topic.id, index);
        let partition = partition.ok_or_else(|| unknown(format!("No such partition as {name}-{index}")))?;
        let needless = match election {
            Election::Preferred => partition.leader == partition.preferred_leader(),
            _ => partition.has_leader(),
        };
        if needless {
            return Err(Refusal::in_common_words(ErrorCode::ElectionNotNeeded));
        }
        let id = PartitionId { topic: topic.id, index };
        let mut wish = self.wish(topic, id, partition, Candidates::active(&self.image.cluster));
        wish.election = election;
        let change = wish.build().ok_or(match election {
            Election::Preferred => ErrorCode::PreferredLeaderNotAvailable,
            _ => ErrorCode::EligibleLeadersNotAvailable,
        })?;
        records.push(MetadataRecord::PartitionChangeRecord(change));
        Ok(())
    }
}

pub(super) fn decide(
    deciding: &mut Deciding<'_>,
    request: ElectLeadersRequest,
) -> Decided<ElectLeadersResponse> {
    let election = match request.election_type {
        0 => Election::Preferred,
        1 => Election::Unclean,
        other => {
            let message = format!("Unknown election type {other}");
            return refuse_all(&request, Refusal::new(ErrorCode::InvalidRequest, message));
        }
    };
    let mut records = Vec::new();
    let mut elect = |name: &str, index: PartitionIndex| -> PartitionResult {
        let elected = deciding.elect_leader(name, index, election, &mut records);
        let (error_code, error_message) = parts(elected);
        PartitionResult { partition_id: index.get(), error_code, error_message, ..Default::default() }
    };
    let results: Vec<ReplicaElectionResult> = match &request.topic_partitions {
        Some(topics) => (topics.iter())
            .map(|topic| ReplicaElectionResult {
                topic: topic.topic.clone(),
                partition_result: topic
                    .partitions
                    .iter()
                    .map(|it| elect(&topic.topic, PartitionIndex(*it)))
                    .collect(),
                ..Default::default()
            })
            .collect(),
        None => (deciding.image.topics.iter())
            .map(|topic| ReplicaElectionResult {
                topic: topic.name.clone(),
                partition_result: (deciding.image.topics.partitions(topic.id))
                    .map(|(index, _)| elect(&topic.name, index))
                    .filter(|result| result.error_code != ErrorCode::ElectionNotNeeded as i16)
                    .collect(),
                ..Default::default()
            })
            .collect(),
    };
    if records.len() > MAX_RECORDS_PER_REQUEST {
        return refuse_all(&request, too_many_records());
    }
    let reply = ElectLeadersResponse { replica_election_results: results, ..Default::default() };
    Decided::each_alone(records, reply)
}

fn refuse_all(request: &ElectLeadersRequest, refusal: Refusal) -> Decided<ElectLeadersResponse> {
    let (error_code, error_message) = parts(Err(refusal));
    let result = |index: &i32| PartitionResult {
        partition_id: *index,
        error_code,
        error_message: error_message.clone(),
        ..Default::default()
    };
    let topics = request.topic_partitions.iter().flatten().map(|topic| ReplicaElectionResult {
        topic: topic.topic.clone(),
        partition_result: topic.partitions.iter().map(result).collect(),
        ..Default::default()
    });
    let replica_election_results = topics.collect();
    Decided::reply(ElectLeadersResponse { error_code, replica_election_results, ..Default::default() })
}
