//! A transactional id on the fake brokers: its coordinator keeps identities and outcomes as Kafka's does in both versions
//! of transactions; it moves, refuses and loses answers as told.

use std::collections::{BTreeSet, VecDeque};

use ottla_base::ErrorCode;
use ottla_wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnRequest;
use ottla_wire::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResponse, AddPartitionsToTxnTopicResult,
};
use ottla_wire::messages::end_txn_request::EndTxnRequest;
use ottla_wire::messages::end_txn_response::EndTxnResponse;
use ottla_wire::messages::init_producer_id_request::InitProducerIdRequest;
use ottla_wire::messages::init_producer_id_response::InitProducerIdResponse;
use ottla_wire::{ApiKey, EncodeError, Message, Reader, Writer};

use crate::fake_broker::{State, TOPIC};

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is done, and the connection ends instead of an answer.
    Lost,
    /// The coordinator is another broker by now.
    Moved,
    /// It is refused.
    Refused(ErrorCode),
}

/// One transactional id.
#[derive(Debug, Default)]
pub(crate) struct FakeTransactions {
    /// The finalized `transaction.version`.
    pub(crate) version: i16,
    /// What goes wrong with the next requests of an API, one after the other.
    pub(crate) faults: VecDeque<(ApiKey, Fault)>,
    /// What was asked of coordinators.
    pub(crate) asked: Vec<ApiKey>,
    /// How often the coordinator was looked for.
    pub(crate) lookups: u32,
    /// How transactions ended: whether they were committed.
    pub(crate) ended: Vec<bool>,
    coordinator: usize,
    epoch: i16,
    /// The epoch before, while what gave the present one may be asked again.
    last_epoch: Option<i16>,
    partitions: BTreeSet<i32>,
}

const PRODUCER: i64 = 1000;
/// The first version of `EndTxn` whose answer gives the next epoch.
const FIRST_END_TXN_V2: i16 = 5;

impl State {
    /// A batch of the transaction is written.
    pub(crate) fn note_transactional(&mut self, partition: i32) {
        let it = &mut self.transactions;
        if it.version >= 2 {
            it.partitions.insert(partition);
        }
        assert!(it.partitions.contains(&partition), "written before the coordinator was told");
    }

    /// Where the coordinator is, for whom looks for it.
    pub(crate) fn transaction_coordinator(&mut self) -> usize {
        self.transactions.lookups += 1;
        self.transactions.coordinator
    }

    /// Answers what a coordinator is asked; says whether the answer is lost.
    pub(crate) fn transaction(
        &mut self,
        at: usize,
        key: ApiKey,
        reader: &mut Reader,
        version: i16,
        body: &mut Writer,
    ) -> Result<bool, EncodeError> {
        let brokers = self.ports.len();
        let it = &mut self.transactions;
        it.asked.push(key);
        let next = it.faults.iter().position(|(api, _)| *api == key);
        let fault = next.and_then(|at| it.faults.remove(at)).map(|(_, fault)| fault);
        if fault == Some(Fault::Moved) {
            it.coordinator = (it.coordinator + 1) % brokers;
        }
        let refused = match fault {
            Some(Fault::Refused(code)) => Some(code),
            _ if it.coordinator != at => Some(ErrorCode::NotCoordinator),
            _ => None,
        };
        match key {
            ApiKey::InitProducerId => {
                let request = Message::decode(reader, version).unwrap();
                let told = refused.map_or_else(|| it.init(&request), Err);
                InitProducerIdResponse {
                    error_code: told.err().unwrap_or_default().code(),
                    producer_id: told.map_or(-1, |_| PRODUCER),
                    producer_epoch: told.unwrap_or(-1),
                    ..Default::default()
                }
                .encode(body, version)?;
            }
            ApiKey::AddPartitionsToTxn => {
                let request = Message::decode(reader, version).unwrap();
                it.add(&request, refused).encode(body, version)?;
            }
            ApiKey::EndTxn => {
                let request = Message::decode(reader, version).unwrap();
                let told = refused.map_or_else(|| it.end(&request, version), Err);
                let gives = version >= FIRST_END_TXN_V2 && told.is_ok();
                EndTxnResponse {
                    error_code: told.err().unwrap_or_default().code(),
                    producer_id: if gives { PRODUCER } else { -1 },
                    producer_epoch: if gives { told.unwrap_or(-1) } else { -1 },
                    ..Default::default()
                }
                .encode(body, version)?;
            }
            other => panic!("{other:?} is not asked here"),
        }
        Ok(fault == Some(Fault::Lost))
    }
}

impl FakeTransactions {
    fn init(&mut self, request: &InitProducerIdRequest) -> Result<i16, ErrorCode> {
        if request.producer_id >= 0 {
            if self.last_epoch == Some(request.producer_epoch) {
                return Ok(self.epoch);
            }
            if request.producer_epoch != self.epoch {
                return Err(ErrorCode::ProducerFenced);
            }
        }
        if !self.partitions.is_empty() {
            self.partitions.clear();
            self.ended.push(false);
        }
        self.last_epoch = (request.producer_id >= 0).then_some(self.epoch);
        self.epoch += 1;
        Ok(self.epoch)
    }

    fn add(
        &mut self,
        request: &AddPartitionsToTxnRequest,
        refused: Option<ErrorCode>,
    ) -> AddPartitionsToTxnResponse {
        let is_current = request.v3_and_below_producer_epoch == self.epoch;
        let refused = refused.or((!is_current).then_some(ErrorCode::ProducerFenced));
        let indexes = request.v3_and_below_topics.iter().flat_map(|it| &it.partitions);
        if refused.is_none() {
            self.partitions.extend(indexes.clone());
        }
        let results = indexes.map(|index| AddPartitionsToTxnPartitionResult {
            partition_index: *index,
            partition_error_code: refused.unwrap_or_default().code(),
            ..Default::default()
        });
        let topic = AddPartitionsToTxnTopicResult {
            name: TOPIC.into(),
            results_by_partition: results.collect(),
            ..Default::default()
        };
        AddPartitionsToTxnResponse { results_by_topic_v3_and_below: vec![topic], ..Default::default() }
    }

    /// The epoch from then on.
    fn end(&mut self, request: &EndTxnRequest, version: i16) -> Result<i16, ErrorCode> {
        let is_again = self.partitions.is_empty() && self.ended.last() == Some(&request.committed);
        let gives = version >= FIRST_END_TXN_V2;
        let before = if gives { self.last_epoch } else { Some(self.epoch) };
        if is_again && before == Some(request.producer_epoch) {
            return Ok(self.epoch);
        }
        if request.producer_epoch != self.epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        if self.partitions.is_empty() {
            return Err(ErrorCode::InvalidTxnState);
        }
        self.partitions.clear();
        self.ended.push(request.committed);
        if gives {
            self.last_epoch = Some(self.epoch);
            self.epoch += 1;
        }
        Ok(self.epoch)
    }
}
