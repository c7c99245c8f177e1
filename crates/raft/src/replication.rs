//! The leader's side of replication: fetches of records and snapshots, and fetches that wait.

use std::time::Duration;

use ottla_base::{ErrorCode, Offset};

use crate::ids::OffsetAndEpoch;
use crate::log::Place;
use crate::message::{
    Answer, Fetch, FetchBody, FetchResponse, FetchSnapshot, FetchSnapshotResponse, Piece, Response,
};
use crate::raft::{MAX_FETCH_WAIT_MS, Raft};
use crate::role::ParkedFetch;
use crate::step::Caller;

impl Raft {
    pub(crate) fn fetch_requested(&mut self, caller: Caller, fetch: Fetch) {
        let illegal = fetch.max_wait_ms < 0
            || fetch.from.offset.0 < 0
            || fetch.from.epoch.0 < 0
            || fetch.from.epoch > fetch.epoch
            || fetch.replica.id == self.config.local.id;
        if illegal {
            let answer = self.refused_fetch(ErrorCode::InvalidRequest);
            return self.answer(caller, answer);
        }
        let (answer, final_answer) = self.try_fetch(&fetch);
        if final_answer || fetch.max_wait_ms == 0 {
            return self.answer(caller, answer);
        }
        let wait_ms = u64::from(fetch.max_wait_ms.min(MAX_FETCH_WAIT_MS).unsigned_abs());
        let deadline = self.moment() + Duration::from_millis(wait_ms);
        self.parked.push(ParkedFetch { caller, request: fetch, deadline });
    }

    /// The answer at this moment, and whether it is worth giving at once.
    fn try_fetch(&mut self, fetch: &Fetch) -> (Answer, bool) {
        if let Some(error) = self.refusal_of_leader_request(fetch.epoch) {
            return (self.refused_fetch(error), true);
        }
        let OffsetAndEpoch { offset, epoch } = fetch.from;
        let snapshot = self.log.latest_snapshot().filter(|latest| *latest != OffsetAndEpoch::BOOTSTRAP);
        let place = match snapshot {
            // For an empty replica a snapshot is the shorter way.
            Some(latest) if offset == Offset(0) => Place::Snapshot(latest),
            _ => self.log.place_of(offset, epoch),
        };
        let body = match place {
            Place::Valid => {
                self.replica_fetched(fetch);
                let piece = Piece::Log { from: offset, end: self.log.end(), max_bytes: fetch.max_bytes };
                FetchBody::Records(if offset < self.log.end() { piece } else { Piece::Empty })
            }
            Place::Diverging(end) => FetchBody::Diverging(end),
            Place::Snapshot(id) => FetchBody::Snapshot(id),
        };
        let high_watermark = self.high_watermark.filter(|_| self.knows_high_watermark());
        let high_watermark = high_watermark.unwrap_or(Offset(-1));
        let news = body != FetchBody::Records(Piece::Empty) || fetch.high_watermark < high_watermark;
        let header = self.header(ErrorCode::None);
        let log_start = self.log.start();
        (Response::Fetch(FetchResponse { header, high_watermark, log_start, body }), news)
    }

    /// A leader knows the high watermark only when its own epoch has reached it (K2).
    fn knows_high_watermark(&self) -> bool {
        let start = self.leader().map(|leader| leader.epoch_start);
        start.is_some_and(|start| self.high_watermark.is_some_and(|known| known > start))
    }

    fn replica_fetched(&mut self, fetch: &Fetch) {
        if fetch.replica.id.0 < 0 {
            return;
        }
        let (now, leader_end) = (self.now, self.log.end());
        if let Some(leader) = self.leader_mut() {
            leader.progress_mut(fetch.replica).fetched(fetch.from.offset, leader_end, now);
        }
        self.voter_listens(fetch.replica);
        self.advance_high_watermark();
    }

    fn refused_fetch(&self, error: ErrorCode) -> Answer {
        Response::Fetch(FetchResponse {
            header: self.header(error),
            high_watermark: Offset(-1),
            log_start: self.log.start(),
            body: FetchBody::Records(Piece::Empty),
        })
    }

    /// Something has happened that waiting fetches may want to know.
    pub(crate) fn complete_parked_fetches(&mut self) {
        let parked = std::mem::take(&mut self.parked);
        for waiting in parked {
            let (answer, news) = self.try_fetch(&waiting.request);
            if news {
                self.answer(waiting.caller, answer);
            } else {
                self.parked.push(waiting);
            }
        }
    }

    pub(crate) fn expire_parked_fetches(&mut self) {
        let moment = self.moment();
        let (due, waiting) =
            std::mem::take(&mut self.parked).into_iter().partition(|parked| parked.deadline <= moment);
        self.parked = waiting;
        let due: Vec<ParkedFetch> = due;
        for parked in due {
            let (answer, _) = self.try_fetch(&parked.request);
            self.answer(parked.caller, answer);
        }
    }

    pub(crate) fn refuse_parked_fetches(&mut self, error: ErrorCode) {
        for parked in std::mem::take(&mut self.parked) {
            let answer = self.refused_fetch(error);
            self.answer(parked.caller, answer);
        }
    }

    pub(crate) fn snapshot_requested(&mut self, fetch: &FetchSnapshot) -> Answer {
        let error = if let Some(error) = self.refusal_of_leader_request(fetch.epoch) {
            error
        } else if !self.log.has_snapshot(fetch.snapshot) || fetch.snapshot == OffsetAndEpoch::BOOTSTRAP {
            ErrorCode::SnapshotNotFound
        } else if fetch.position < 0 {
            ErrorCode::PositionOutOfRange
        } else {
            ErrorCode::None
        };
        let mut bytes = Piece::Empty;
        if error == ErrorCode::None {
            let FetchSnapshot { snapshot: id, position, max_bytes, .. } = *fetch;
            bytes = Piece::Snapshot { id, position, max_bytes };
            if fetch.replica.id != self.config.local.id {
                self.voter_listens(fetch.replica);
            }
        }
        Response::FetchSnapshot(FetchSnapshotResponse {
            header: self.header(error),
            snapshot: fetch.snapshot,
            size: 0,
            position: fetch.position,
            bytes,
        })
    }
}
