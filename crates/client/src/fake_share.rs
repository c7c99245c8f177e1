//! A share group of one on the fake brokers: records are locked, acknowledged and handed out again as Kafka's brokers do
//! it; sessions end, locks are lost and leaders change as told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ottla_base::{ErrorCode, Str};
use ottla_record::BatchView;
use ottla_wire::messages::share_acknowledge_request::ShareAcknowledgeRequest;
use ottla_wire::messages::share_acknowledge_response::{
    self as acknowledged, ShareAcknowledgeResponse, ShareAcknowledgeTopicResponse,
};
use ottla_wire::messages::share_fetch_request::ShareFetchRequest;
use ottla_wire::messages::share_fetch_response::{
    AcquiredRecords, LeaderIdAndEpoch, PartitionData, ShareFetchResponse, ShareFetchableTopicResponse,
};
use ottla_wire::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use ottla_wire::messages::share_group_heartbeat_response::{
    Assignment, ShareGroupHeartbeatResponse, TopicPartitions,
};
use ottla_wire::{ApiKey, EncodeError, Message, Reader, Writer};

use crate::fake_broker::{State, TOPIC_ID};

/// What goes wrong with one request of an open session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShareFault {
    /// The session is gone, and the locks with it (`SHARE_SESSION_NOT_FOUND`).
    SessionGone,
    /// The epoch is not the one that is due (`INVALID_SHARE_SESSION_EPOCH`); locks stay.
    WrongEpoch,
    /// The time of all locks is over.
    LocksOver,
    /// It is done, and the connection ends instead of an answer; the session and its locks end with it.
    Lost,
    /// Partition 0 is led by the next broker, which knows of no locks.
    LeaderMoves,
}

/// Whether there is an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// There is.
    All,
    /// There is, but it tells nothing.
    Nothing,
    /// The connection ends instead.
    Lost,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lock {
    /// It is with the member, from this broker.
    Held(usize),
    /// It is not handed out any more.
    Done,
}

/// A share group with one member.
#[derive(Debug, Default)]
pub(crate) struct FakeShare {
    /// What goes wrong with the next requests of open sessions; those with acknowledgements only, if said so.
    pub(crate) faults: VecDeque<(ShareFault, When)>,
    /// How often each record was accepted.
    pub(crate) accepted: BTreeMap<(i32, i64), u32>,
    /// How often a session began.
    pub(crate) begun: u32,
    epoch: i32,
    sessions: BTreeMap<usize, Session>,
    locks: BTreeMap<(i32, i64), Lock>,
}

/// Which request is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The next.
    Next,
    /// The next that acknowledges records.
    Acknowledging,
}

#[derive(Debug, Default)]
struct Session {
    epoch: i32,
    partitions: BTreeSet<i32>,
}

/// First and last offset, and what became of the records.
type Run = (i64, i64, i8);

impl State {
    /// Answers what members of share groups ask.
    pub(crate) fn shared(
        &mut self,
        at: usize,
        key: ApiKey,
        reader: &mut Reader,
        version: i16,
        body: &mut Writer,
    ) -> Result<Told, EncodeError> {
        match key {
            ApiKey::ShareGroupHeartbeat => {
                let request = Message::decode(reader, version).unwrap();
                self.share_heartbeat(at, &request).encode(body, version)?;
                Ok(Told::All)
            }
            ApiKey::ShareFetch => {
                let (answer, told) = self.share_fetch(at, &Message::decode(reader, version).unwrap());
                answer.encode(body, version)?;
                Ok(told)
            }
            ApiKey::ShareAcknowledge => {
                let (answer, told) = self.share_acknowledge(at, &Message::decode(reader, version).unwrap());
                answer.encode(body, version)?;
                Ok(told)
            }
            other => panic!("{other:?} is not asked here"),
        }
    }

    fn share_heartbeat(
        &mut self,
        at: usize,
        request: &ShareGroupHeartbeatRequest,
    ) -> ShareGroupHeartbeatResponse {
        let mut answer = ShareGroupHeartbeatResponse { heartbeat_interval_ms: 5, ..Default::default() };
        if self.group.coordinator != at {
            answer.error_code = ErrorCode::NotCoordinator.code();
            return answer;
        }
        if request.member_epoch == 0 {
            self.share.epoch += 1;
            let all = TopicPartitions {
                topic_id: TOPIC_ID,
                partitions: (0..self.logs.len() as i32).collect(),
                ..Default::default()
            };
            answer.assignment = Some(Assignment { topic_partitions: vec![all], ..Default::default() });
        }
        answer.member_id = Some(request.member_id.clone());
        answer.member_epoch = self.share.epoch;
        answer
    }

    /// What goes wrong with this request.
    fn share_fault(&mut self, epoch: i32, acknowledges: bool) -> Option<ShareFault> {
        let (fault, when) = *self.share.faults.front()?;
        let is_meant = epoch > 0 && (acknowledges || when == When::Next);
        is_meant.then(|| self.share.faults.pop_front())?;
        if fault == ShareFault::LeaderMoves {
            let brokers = self.ports.len();
            self.logs[0].leader = (self.logs[0].leader + 1) % brokers;
            self.logs[0].leader_epoch += 1;
            self.share.locks.retain(|(partition, _), lock| *partition != 0 || *lock == Lock::Done);
        }
        if fault == ShareFault::LocksOver {
            self.share.locks.retain(|_, lock| *lock == Lock::Done);
        }
        Some(fault)
    }

    /// Takes the epoch of a request; the partitions of a session that goes on.
    fn share_session(
        &mut self,
        at: usize,
        epoch: i32,
        fault: Option<ShareFault>,
    ) -> Result<&mut Session, ErrorCode> {
        match fault {
            Some(ShareFault::SessionGone) => self.share.end_session(at),
            Some(ShareFault::WrongEpoch) => return Err(ErrorCode::InvalidShareSessionEpoch),
            _ => {}
        }
        let session = self.share.sessions.get_mut(&at).ok_or(ErrorCode::ShareSessionNotFound)?;
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        session.epoch += 1;
        Ok(session)
    }

    fn share_fetch(&mut self, at: usize, request: &ShareFetchRequest) -> (ShareFetchResponse, Told) {
        let refused = |code: ErrorCode| ShareFetchResponse { error_code: code.code(), ..Default::default() };
        assert!(request.topics.iter().all(|it| it.topic_id == TOPIC_ID));
        let all: Vec<_> = request.topics.iter().flat_map(|it| &it.partitions).collect();
        let acknowledges = all.iter().any(|it| !it.acknowledgement_batches.is_empty());
        let epoch = request.share_session_epoch;
        let fault = self.share_fault(epoch, acknowledges);
        if epoch == 0 {
            if acknowledges {
                return (refused(ErrorCode::InvalidRequest), Told::All);
            }
            self.share.sessions.insert(at, Session::default());
            self.share.begun += 1;
        }
        let session = match self.share_session(at, epoch, fault) {
            Ok(session) => session,
            Err(code) => {
                for it in &all {
                    // Nobody acknowledges them again, so the time of their locks passes.
                    for offset in
                        it.acknowledgement_batches.iter().flat_map(|it| it.first_offset..=it.last_offset)
                    {
                        self.share.locks.remove(&(it.partition_index, offset));
                    }
                }
                return (refused(code), Told::All);
            }
        };
        session.partitions.extend(all.iter().map(|it| it.partition_index));
        for partition in request.forgotten_topics_data.iter().flat_map(|it| &it.partitions) {
            session.partitions.remove(partition);
        }
        let fetched = session.partitions.clone();
        let mut answers: BTreeMap<i32, PartitionData> = BTreeMap::new();
        for it in all.iter().filter(|it| !it.acknowledgement_batches.is_empty()) {
            let runs = it.acknowledgement_batches.iter();
            let runs = runs.map(|it| (it.first_offset, it.last_offset, it.acknowledge_types[0]));
            let code = self.take_runs(at, it.partition_index, runs);
            let answer = answers.entry(it.partition_index).or_default();
            answer.acknowledge_error_code = code.code();
        }
        for partition in fetched {
            self.acquire(at, partition, &mut answers);
        }
        for (partition, data) in &mut answers {
            data.partition_index = *partition;
            data.records.get_or_insert_default();
        }
        let told = self.share.told(at, fault, answers.is_empty());
        let topic = ShareFetchableTopicResponse {
            topic_id: TOPIC_ID,
            partitions: answers.into_values().collect(),
            ..Default::default()
        };
        (ShareFetchResponse { responses: vec![topic], ..Default::default() }, told)
    }

    /// Hands out the records of the first batch that has any.
    fn acquire(&mut self, at: usize, partition: i32, answers: &mut BTreeMap<i32, PartitionData>) {
        let log = &self.logs[partition as usize];
        if log.leader != at {
            let data = answers.entry(partition).or_default();
            data.error_code = ErrorCode::NotLeaderOrFollower.code();
            data.current_leader = LeaderIdAndEpoch {
                leader_id: log.leader as i32,
                leader_epoch: log.leader_epoch,
                ..Default::default()
            };
            return;
        }
        for bytes in &log.batches {
            let batch = BatchView::new(bytes).unwrap();
            let offsets = batch.base_offset().0..batch.end_offset().0;
            let free: Vec<i64> =
                offsets.filter(|it| !self.share.locks.contains_key(&(partition, *it))).collect();
            if free.is_empty() {
                continue;
            }
            let data = answers.entry(partition).or_default();
            data.records = Some(bytes.clone());
            for offset in free {
                self.share.locks.insert((partition, offset), Lock::Held(at));
                data.acquired_records.push(AcquiredRecords {
                    first_offset: offset,
                    last_offset: offset,
                    delivery_count: 1,
                    ..Default::default()
                });
            }
            return;
        }
    }

    /// Takes acknowledgements of one partition: all or none.
    fn take_runs(&mut self, at: usize, partition: i32, runs: impl Iterator<Item = Run> + Clone) -> ErrorCode {
        if self.logs[partition as usize].leader != at {
            return ErrorCode::NotLeaderOrFollower;
        }
        let all = runs.flat_map(|(first, last, what)| (first..=last).map(move |it| ((partition, it), what)));
        if all.clone().any(|(record, _)| self.share.locks.get(&record) != Some(&Lock::Held(at))) {
            // The time of the others' locks passes, too.
            self.share.locks.retain(|(index, _), lock| *index != partition || *lock == Lock::Done);
            return ErrorCode::InvalidRecordState;
        }
        for (record, what) in all {
            match what {
                1 => *self.share.accepted.entry(record).or_default() += 1,
                2 => {
                    self.share.locks.remove(&record);
                    continue;
                }
                _ => {}
            }
            self.share.locks.insert(record, Lock::Done);
        }
        ErrorCode::None
    }

    fn share_acknowledge(
        &mut self,
        at: usize,
        request: &ShareAcknowledgeRequest,
    ) -> (ShareAcknowledgeResponse, Told) {
        let refused =
            |code: ErrorCode| ShareAcknowledgeResponse { error_code: code.code(), ..Default::default() };
        let epoch = request.share_session_epoch;
        if epoch < 0 {
            self.share.end_session(at);
            return (ShareAcknowledgeResponse::default(), Told::All);
        }
        let fault = self.share_fault(epoch, true);
        if epoch == 0 {
            return (refused(ErrorCode::InvalidShareSessionEpoch), Told::All);
        }
        if let Err(code) = self.share_session(at, epoch, fault) {
            return (refused(code), Told::All);
        }
        let mut partitions = Vec::new();
        for it in request.topics.iter().flat_map(|it| &it.partitions) {
            let runs = it.acknowledgement_batches.iter();
            let runs = runs.map(|it| (it.first_offset, it.last_offset, it.acknowledge_types[0]));
            partitions.push(acknowledged::PartitionData {
                partition_index: it.partition_index,
                error_code: self.take_runs(at, it.partition_index, runs).code(),
                error_message: Some(Str::from_static("said by a broker")),
                ..Default::default()
            });
        }
        let topic = ShareAcknowledgeTopicResponse { topic_id: TOPIC_ID, partitions, ..Default::default() };
        let answer = ShareAcknowledgeResponse { responses: vec![topic], ..Default::default() };
        (answer, self.share.told(at, fault, false))
    }
}

impl FakeShare {
    /// The session with a broker is over: what it handed out is for others.
    fn end_session(&mut self, at: usize) {
        self.sessions.remove(&at);
        self.locks.retain(|_, lock| *lock != Lock::Held(at));
    }

    fn told(&mut self, at: usize, fault: Option<ShareFault>, is_empty: bool) -> Told {
        if fault == Some(ShareFault::Lost) {
            self.end_session(at);
            return Told::Lost;
        }
        if is_empty { Told::Nothing } else { Told::All }
    }
}
