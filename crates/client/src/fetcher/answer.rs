//! What an answer means for the partitions it is about.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ottla_base::{ErrorCode, LeaderEpoch, NodeId, Offset};
use ottla_net::client::RequestError;
use ottla_wire::messages::fetch_response::{FetchResponse, PartitionData};
use ottla_wire::{Message, Reader};

use super::batches::{Scan, fetched, scan};
use super::position::{EpochEnd, Found, Place, Position, is_moved};
use super::session::Asked;
use super::{FIRST_FETCH_WITH_IDS, Fetcher, UnderWay};
use crate::admin::ListedOffset;
use crate::cluster::{LeaderAnswers, TopicPartition, millis};
use crate::error::{Error, Refusal};
use crate::options::OffsetReset;

impl Fetcher {
    /// Takes the answer of a broker, or the lack of one.
    pub(super) fn take_reply(
        &mut self,
        id: NodeId,
        under_way: UnderWay,
        reply: Result<Reader, RequestError>,
    ) {
        let version = under_way.version;
        let answer = reply.and_then(|mut reader| {
            let answer = FetchResponse::decode(&mut reader, version)?;
            reader.finish()?;
            Ok(answer)
        });
        let now = self.cluster.host().now();
        let Some(source) = self.nodes.get_mut(&id) else { return };
        match answer {
            Err(error) => {
                source.session.begin_again();
                let asked = std::mem::take(&mut source.session.asked);
                for partition in asked.keys() {
                    if let Some(assigned) = self.partitions.get_mut(partition) {
                        assigned.hold_back(&self.cluster);
                    }
                }
                let error = Error::of_request(error, &under_way.server);
                tracing::debug!(%error, "fetching failed");
                self.cluster.refresh_soon();
                if !error.is_retriable() {
                    self.errors.push_back(error);
                }
            }
            Ok(answer) => {
                source.muted_until = now + millis(answer.throttle_time_ms.into());
                match ErrorCode::from_code(answer.error_code) {
                    ErrorCode::None => {
                        source.session.answered(answer.session_id);
                        let asked = source.session.asked.clone();
                        self.take_answer(answer, version, &asked);
                    }
                    code => {
                        tracing::debug!(%code, "the fetch session begins again");
                        source.session.failed(code);
                        source.muted_until = now + SESSION_PAUSE;
                        self.cluster.refresh_soon();
                    }
                }
            }
        }
    }

    fn take_answer(&mut self, answer: FetchResponse, version: i16, asked: &BTreeMap<TopicPartition, Asked>) {
        for topic in answer.responses {
            let name = if version >= FIRST_FETCH_WITH_IDS {
                let named = asked.iter().find(|(_, it)| it.topic_id == topic.topic_id);
                named.map(|(partition, _)| partition.topic.clone())
            } else {
                Some(topic.topic.detached())
            };
            let Some(name) = name else { continue };
            for data in topic.partitions {
                let partition = TopicPartition::new(name.clone(), data.partition_index);
                if let Some(asked) = asked.get(&partition) {
                    self.take_partition(partition, *asked, data);
                }
            }
        }
    }

    fn take_partition(&mut self, partition: TopicPartition, asked: Asked, data: PartitionData) {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        if assigned.generation != asked.generation || assigned.place != Place::At(asked.offset) {
            return;
        }
        let leader = &data.current_leader;
        if leader.leader_id >= 0 {
            let epoch = LeaderEpoch(leader.leader_epoch);
            self.cluster.learn_leader(&partition, NodeId(leader.leader_id), epoch);
        }
        let code = ErrorCode::from_code(data.error_code);
        if code == ErrorCode::None {
            if data.preferred_read_replica >= 0 {
                let max_age = millis(self.cluster.options().metadata_max_age_ms);
                let until = self.cluster.host().now() + max_age;
                assigned.follower = Some((NodeId(data.preferred_read_replica), until));
            }
            if data.high_watermark >= 0 {
                assigned.high_watermark = Some(Offset(data.high_watermark));
            }
            assigned.backoff.reset();
            return self.take_records(partition, asked, data);
        }
        let from_follower = assigned.follower.is_some();
        assigned.hold_back(&self.cluster);
        match code {
            ErrorCode::OffsetOutOfRange if from_follower => {}
            ErrorCode::OffsetOutOfRange => self.reset(&partition, asked.offset, code),
            code if is_moved(code) => self.cluster.refresh_soon(),
            ErrorCode::CorruptMessage | ErrorCode::UnknownServerError => {
                tracing::warn!(%partition, offset = %asked.offset, %code, "fetching is tried again");
            }
            code => {
                let message =
                    Some(format!("fetching {partition} at offset {}: {}", asked.offset, code.message()));
                let message = message.map(|it| it.as_str().into());
                self.errors.push_back(Error::Refused(Refusal { code, message }));
            }
        }
    }

    fn take_records(&mut self, partition: TopicPartition, asked: Asked, data: PartitionData) {
        let records: Bytes = data.records.unwrap_or_default();
        if records.is_empty() {
            return;
        }
        let rules = Scan {
            from: asked.offset,
            check_crcs: self.options.check_crcs,
            read_committed: self.read_committed,
        };
        let scanned = match scan(&records, data.aborted_transactions.unwrap_or_default(), rules) {
            Ok(scanned) => scanned,
            Err(error) => {
                if let Some(assigned) = self.partitions.get_mut(&partition) {
                    assigned.hold_back(&self.cluster);
                }
                let message = format!(
                    "Record batch for partition {partition} at or behind offset {} is invalid: {error}. If \
                     needed, seek past it to continue consumption.",
                    asked.offset
                );
                return self.errors.push_back(Error::Corrupt(message.into()));
            }
        };
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        assigned.place = Place::At(scanned.next_offset);
        assigned.offset_epoch = scanned.leader_epoch.or(assigned.offset_epoch);
        let offsets = [data.high_watermark, data.last_stable_offset, data.log_start_offset];
        let fetched = fetched(partition, offsets, asked.offset, scanned);
        if !fetched.is_empty() {
            self.ready.push_back(fetched);
        }
    }

    /// Goes on elsewhere, as `auto.offset.reset` says, or tells that it cannot.
    fn reset(&mut self, partition: &TopicPartition, offset: Offset, code: ErrorCode) {
        let Some(position) = self.start() else {
            let message = format!(
                "offset {offset} is not in the log of {partition}, and auto.offset.reset=none: assign another"
            );
            let refusal = Refusal { code, message: Some(message.into()) };
            return self.errors.push_back(Error::Refused(refusal));
        };
        tracing::info!(%partition, %offset, ?position, "the position is not in the log and is reset");
        if let Some(assigned) = self.partitions.get_mut(partition) {
            assigned.seek(position);
        }
    }

    /// Takes what was looked up.
    pub(super) fn take_found(&mut self, found: Found) {
        match found {
            Found::Offsets(generations, answers) => self.take_offsets(&generations, answers),
            Found::Ends(generations, answers) => self.take_ends(&generations, answers),
        }
    }

    fn take_offsets(
        &mut self,
        generations: &BTreeMap<TopicPartition, u64>,
        answers: LeaderAnswers<ListedOffset>,
    ) {
        for (partition, answer) in answers {
            let Some(assigned) = self.partitions.get_mut(&partition) else { continue };
            let Place::LookingUp(position) = assigned.place else { continue };
            if generations.get(&partition) != Some(&assigned.generation) {
                continue;
            }
            match answer {
                Ok(ListedOffset { offset: Some(offset), leader_epoch, .. }) => {
                    assigned.place = Place::At(offset);
                    assigned.offset_epoch = leader_epoch;
                    assigned.backoff.reset();
                }
                // No record is as new: it goes on behind the last.
                Ok(ListedOffset { offset: None, .. }) => assigned.place = Place::Wanted(Position::End),
                Err(error) => {
                    assigned.place = Place::Wanted(position);
                    assigned.hold_back(&self.cluster);
                    if error.is_retriable() {
                        tracing::debug!(%partition, %error, "the offset was not found out");
                        self.cluster.refresh_soon();
                    } else {
                        self.errors.push_back(error);
                    }
                }
            }
        }
    }

    fn take_ends(&mut self, generations: &BTreeMap<TopicPartition, u64>, answers: LeaderAnswers<EpochEnd>) {
        let metadata = self.cluster.metadata();
        for (partition, answer) in answers {
            let Some(assigned) = self.partitions.get_mut(&partition) else { continue };
            let Place::Checking(offset) = assigned.place else { continue };
            if generations.get(&partition) != Some(&assigned.generation) {
                continue;
            }
            assigned.place = Place::At(offset);
            let checked = metadata.partition(&partition).map(|it| it.leader_epoch);
            match answer {
                Ok(EpochEnd { end: Some(end), .. }) if end >= offset => {
                    assigned.checked_epoch = checked.unwrap_or(assigned.checked_epoch);
                }
                Ok(EpochEnd { end: Some(end), epoch }) if self.reset != OffsetReset::Never => {
                    tracing::info!(%partition, %offset, %end, "the log was truncated below the position");
                    assigned.checked_epoch = checked.unwrap_or(assigned.checked_epoch);
                    assigned.place = Place::At(end);
                    assigned.offset_epoch = Some(epoch);
                }
                Ok(EpochEnd { .. }) => {
                    assigned.checked_epoch = checked.unwrap_or(assigned.checked_epoch);
                    self.reset(&partition, offset, ErrorCode::OffsetOutOfRange);
                }
                // The broker is too old to be asked; it will refuse an offset that it does not have.
                Err(Error::Unsupported(_)) => {
                    assigned.checked_epoch = checked.unwrap_or(assigned.checked_epoch);
                }
                Err(error) => {
                    assigned.hold_back(&self.cluster);
                    if error.is_retriable() {
                        self.cluster.refresh_soon();
                    } else {
                        self.errors.push_back(error);
                    }
                }
            }
        }
    }
}

/// How long a broker that refused a whole request is left alone.
const SESSION_PAUSE: Duration = Duration::from_millis(100);
