//! A quorum of one: it leads when it starts, and commits what is durable.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use ottla_base::{ErrorCode, LeaderEpoch, Moment, NodeId, Now, Offset, Timestamp, Uuid};
use ottla_record::BatchView;

use crate::control::{ControlRecord, control_records};
use crate::history::Membership;
use crate::ids::{OffsetAndEpoch, ReplicaKey};
use crate::log::LogShape;
use crate::message::{Fetch, FetchBody, FetchResponse, Piece, Request, Response};
use crate::quorum_state::Election;
use crate::raft::{Config, Raft, Recovered};
use crate::step::{Action, Caller, Correlation, FlushTicket, Input, LeaderAndEpoch};
use crate::voters::{Address, Endpoints, KRaftVersion, Voter, VoterSet};

const LOCAL: ReplicaKey = ReplicaKey::new(NodeId(1), Uuid::from_number(0x1234_5678));

fn endpoints() -> Endpoints {
    Endpoints::one("CONTROLLER", Address::new("localhost", 9093))
}

fn now(ms: u64) -> Now {
    Now { moment: Moment(Duration::from_millis(ms)), wall_clock: Timestamp(1_000_000 + ms as i64) }
}

fn dynamic() -> Recovered {
    let mut membership = Membership::default();
    let voter = Voter { key: LOCAL, endpoints: endpoints(), kraft_versions: (0, 1) };
    membership.apply(Offset(-1), ControlRecord::KRaftVersion(KRaftVersion::Dynamic));
    membership.apply(Offset(-1), ControlRecord::Voters([voter].into_iter().collect()));
    let snapshots = BTreeSet::from([OffsetAndEpoch::BOOTSTRAP]);
    let log = LogShape::recovered(Offset(0), Offset(0), Vec::new(), snapshots);
    Recovered { election: None, log, membership }
}

fn static_voter() -> Recovered {
    let voters = VoterSet::parse_static("1@localhost:9093", "CONTROLLER").unwrap();
    Recovered { election: None, log: LogShape::default(), membership: Membership::new(voters) }
}

fn start(recovered: Recovered) -> (Raft, Vec<Action>) {
    Raft::new(Config::new(LOCAL, endpoints(), "CONTROLLER"), recovered, 7, now(0))
}

fn ticket(actions: &[Action]) -> FlushTicket {
    let tickets = actions.iter().rev().find_map(|action| match action {
        Action::Flush(ticket) => Some(*ticket),
        _ => None,
    });
    tickets.expect("a flush was asked for")
}

#[test]
fn it_leads_at_once() {
    let (raft, actions) = start(dynamic());
    assert_eq!(raft.led_epoch(), Some(LeaderEpoch(1)));
    let texts: Vec<&String> = actions
        .iter()
        .filter_map(|action| match action {
            Action::PersistElection(text) => Some(text),
            _ => None,
        })
        .collect();
    assert_eq!(texts.len(), 1, "one write is enough: {texts:?}");
    let (append, follow) = actions
        .iter()
        .position(|it| matches!(it, Action::Append { .. }))
        .map(|at| actions.split_at(at))
        .unwrap();
    assert!(matches!(append.last(), Some(Action::PersistElection(_))), "durable before the first record");
    let leadership = LeaderAndEpoch { leader: Some(NodeId(1)), epoch: LeaderEpoch(1) };
    assert!(follow.contains(&Action::Leadership { now: leadership, epoch_start: Some(Offset(0)) }));
    assert_eq!(raft.deadline(), None, "nothing to wait for");
}

#[test]
fn the_first_batch_carries_the_voters_into_the_log() {
    let (raft, actions) = start(dynamic());
    let batch = actions.iter().find_map(|action| match action {
        Action::Append { batch, .. } => Some(batch.clone()),
        _ => None,
    });
    let batch = batch.unwrap();
    let records = control_records(&BatchView::new(&batch).unwrap()).unwrap();
    let kinds: Vec<&ControlRecord> = records.iter().map(|(_, record)| record).collect();
    let [
        ControlRecord::LeaderChange { leader, .. },
        ControlRecord::KRaftVersion(version),
        ControlRecord::Voters(voters),
    ] = kinds[..]
    else {
        panic!("{kinds:?}")
    };
    assert_eq!((*leader, *version), (NodeId(1), KRaftVersion::Dynamic));
    assert_eq!(voters, raft.voters());
    assert_eq!(raft.membership().voters.last().map(|(offset, _)| offset), Some(Offset(2)));
    let (_, actions) = start(static_voter());
    let Some(Action::Append { end, .. }) = actions.iter().find(|it| matches!(it, Action::Append { .. }))
    else {
        panic!("no batch")
    };
    assert_eq!(*end, Offset(1), "static voters stay out of the log");
}

#[test]
fn nothing_is_committed_before_it_is_durable() {
    let (mut raft, actions) = start(static_voter());
    assert!(!actions.iter().any(|it| matches!(it, Action::Commit(_))));
    let propose = |values: &[&'static str]| Input::Propose {
        epoch: LeaderEpoch(1),
        values: values.iter().map(|it| Bytes::from_static(it.as_bytes())).collect(),
    };
    let more = raft.step(propose(&["a", "b"]), now(1));
    assert!(matches!(&more[..], [Action::Append { end: Offset(3), .. }, Action::Flush(_)]));
    assert_eq!(raft.step(Input::Flushed(ticket(&actions)), now(2)), [Action::Commit(Offset(1))]);
    assert_eq!(raft.step(Input::Flushed(ticket(&more)), now(3)), [Action::Commit(Offset(3))]);
    let stale = Input::Propose { epoch: LeaderEpoch(0), values: vec![Bytes::from_static(b"c")] };
    assert_eq!(raft.step(stale, now(4)), []);
}

#[test]
fn it_leads_a_new_epoch_after_a_restart() {
    for (election, epoch) in [
        (Election { epoch: LeaderEpoch(4), leader: Some(NodeId(1)), voted: None }, 5),
        (Election { epoch: LeaderEpoch(4), leader: None, voted: None }, 5),
        // It had voted for itself and nobody else could have: the epoch is its own.
        (Election { epoch: LeaderEpoch(4), leader: None, voted: Some(LOCAL) }, 4),
    ] {
        let (raft, _) = start(Recovered { election: Some(election), ..dynamic() });
        assert_eq!(raft.led_epoch(), Some(LeaderEpoch(epoch)), "{election:?}");
    }
    // The file is gone, the log is not.
    let log = LogShape::recovered(
        Offset(0),
        Offset(9),
        vec![(LeaderEpoch(8), Offset(0))],
        BTreeSet::from([OffsetAndEpoch::BOOTSTRAP]),
    );
    let (raft, _) = start(Recovered { log, ..dynamic() });
    assert_eq!(raft.led_epoch(), Some(LeaderEpoch(9)));
}

#[test]
fn an_observer_is_served_and_seen() {
    let (mut raft, actions) = start(static_voter());
    raft.step(Input::Flushed(ticket(&actions)), now(1));
    let observer = ReplicaKey::new(NodeId(5), Uuid::from_number(5555));
    let fetch = |offset, high_watermark| Fetch {
        replica: observer,
        epoch: LeaderEpoch(1),
        from: OffsetAndEpoch::new(Offset(offset), LeaderEpoch(i32::from(offset > 0))),
        high_watermark: Offset(high_watermark),
        max_wait_ms: 400,
        max_bytes: 1000,
    };
    let actions = raft.step(Input::Request(Caller(1), Request::Fetch(fetch(0, -1))), now(10));
    let [Action::Answer(Caller(1), Response::Fetch(FetchResponse { header, high_watermark, body, .. }))] =
        &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!((header.error, header.leader), (ErrorCode::None, Some(NodeId(1))));
    assert_eq!(*high_watermark, Offset(1));
    let piece = Piece::Log { from: Offset(0), end: Offset(1), max_bytes: 1000 };
    assert_eq!(*body, FetchBody::Records(piece));
    // It has all there is: the next fetch waits, and sees what comes.
    assert_eq!(raft.step(Input::Request(Caller(2), Request::Fetch(fetch(1, 1))), now(20)), []);
    assert_eq!(raft.deadline(), Some(now(420).moment));
    let values = vec![Bytes::from_static(b"v")];
    let actions = raft.step(Input::Propose { epoch: LeaderEpoch(1), values }, now(30));
    assert!(actions.iter().any(|it| matches!(it, Action::Answer(Caller(2), _))));
    assert_eq!(raft.step(Input::Request(Caller(3), Request::Fetch(fetch(2, 2))), now(40)), []);
    assert!(matches!(raft.step(Input::Tick, now(440))[..], [Action::Answer(Caller(3), _)]));
    let actions = raft.step(Input::Request(Caller(4), Request::DescribeQuorum), now(500));
    let [Action::Answer(_, Response::DescribeQuorum(Ok(info)))] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((info.leader, info.epoch, info.high_watermark), (NodeId(1), LeaderEpoch(1), Offset(1)));
    assert_eq!(info.voters[0].last_fetch, now(500).wall_clock);
    assert_eq!(info.observers[0].key, observer);
    assert_eq!(info.observers[0].last_caught_up, now(440).wall_clock);
    let actions = raft.step(Input::Request(Caller(5), Request::DescribeQuorum), now(400_000));
    let [Action::Answer(_, Response::DescribeQuorum(Ok(info)))] = &actions[..] else { panic!("{actions:?}") };
    assert!(info.observers.is_empty(), "forgotten after five minutes");
}

#[test]
fn it_may_stop_without_heirs() {
    let (mut raft, actions) = start(dynamic());
    raft.step(Input::Flushed(ticket(&actions)), now(1));
    raft.step(Input::Shutdown, now(2));
    assert!(raft.may_stop());
    assert_eq!(raft.led_epoch(), None);
}

#[test]
fn a_flush_from_before_a_cut_counts_for_nothing() {
    let voters = VoterSet::parse_static("1@localhost:9093,2@localhost:9094,3@localhost:9095", "CONTROLLER");
    let membership = Membership::new(voters.unwrap());
    let recovered = Recovered { election: None, log: LogShape::default(), membership };
    let (mut raft, _) = start(recovered);
    raft.actions.clear();
    raft.log.appended(Offset(5), LeaderEpoch(1));
    raft.request_flush();
    let early = ticket(&raft.actions);
    raft.truncate(Offset(2));
    raft.log.appended(Offset(6), LeaderEpoch(2));
    raft.request_flush();
    let late = ticket(&raft.actions);
    raft.step(Input::Flushed(early), now(1));
    assert_eq!(raft.log().flushed(), Offset(0));
    raft.step(Input::Flushed(late), now(1));
    assert_eq!(raft.log().flushed(), Offset(6));
}

/// The case of figure 8 in the Raft paper (K2): a majority holds a record of an older epoch, and yet a later
/// leader may overwrite it, so it is not committed before a record of the leader's own epoch is.
#[test]
fn records_of_older_epochs_are_committed_only_with_own_ones() {
    let voters = VoterSet::parse_static("1@localhost:9093,2@localhost:9094,3@localhost:9095", "CONTROLLER");
    let membership = Membership::new(voters.unwrap());
    let epochs = vec![(LeaderEpoch(2), Offset(0))];
    let log = LogShape::recovered(Offset(0), Offset(5), epochs, BTreeSet::new());
    let (mut raft, _) = start(Recovered { election: None, log, membership });
    raft.step(Input::Tick, now(5_000));
    let header = |epoch| crate::message::Header {
        error: ErrorCode::None,
        leader: None,
        epoch: LeaderEpoch(epoch),
        endpoints: Endpoints::default(),
    };
    for epoch in [2, 3] {
        let correlation = (0..100)
            .map(Correlation)
            .rfind(|it| raft.connections.expected(*it).is_some_and(|peer| peer.id == NodeId(2)));
        let granted = Response::Vote { header: header(epoch), granted: true };
        raft.step(Input::Response(correlation.unwrap(), granted), now(5_001));
    }
    assert_eq!(raft.led_epoch(), Some(LeaderEpoch(3)));
    let fetch = |offset, epoch| {
        Request::Fetch(Fetch {
            replica: ReplicaKey::new(NodeId(2), Uuid::from_number(2)),
            epoch: LeaderEpoch(3),
            from: OffsetAndEpoch::new(Offset(offset), LeaderEpoch(epoch)),
            high_watermark: Offset(-1),
            max_wait_ms: 0,
            max_bytes: 1000,
        })
    };
    let flush = FlushTicket { end: Offset(5), generation: 0 };
    raft.step(Input::Flushed(flush), now(5_002));
    raft.step(Input::Request(Caller(1), fetch(5, 2)), now(5_003));
    assert_eq!(raft.high_watermark(), None, "two of three hold offset 4, but it is of epoch 2");
    raft.step(Input::Flushed(FlushTicket { end: Offset(6), generation: 0 }), now(5_004));
    raft.step(Input::Request(Caller(2), fetch(6, 3)), now(5_005));
    assert_eq!(raft.high_watermark(), Some(Offset(6)));
}

/// K1: a vote is on the disk before the candidate hears of it, and is kept to.
#[test]
fn a_vote_is_durable_before_it_is_given() {
    let voters = VoterSet::parse_static("1@localhost:9093,2@localhost:9094,3@localhost:9095", "CONTROLLER");
    let membership = Membership::new(voters.unwrap());
    let recovered = Recovered { election: None, log: LogShape::default(), membership };
    let (mut raft, _) = start(recovered);
    let vote = |candidate: i32, epoch| {
        Request::Vote(crate::message::Vote {
            voter: None,
            candidate: ReplicaKey::new(NodeId(candidate), Uuid::from_number(candidate as u128)),
            epoch: LeaderEpoch(epoch),
            last: OffsetAndEpoch::default(),
            pre_vote: false,
        })
    };
    let granted = |actions: &[Action]| match actions.last() {
        Some(Action::Answer(_, Response::Vote { granted, .. })) => *granted,
        other => panic!("{other:?}"),
    };
    let actions: Vec<Action> = raft.step(Input::Request(Caller(1), vote(2, 4)), now(1));
    let actions: Vec<Action> = actions
        .into_iter()
        .filter(|it| !matches!(it, Action::Send { .. } | Action::Leadership { .. }))
        .collect();
    assert!(granted(&actions));
    let Some(Action::PersistElection(text)) = actions.iter().rev().nth(1) else { panic!("{actions:?}") };
    let kept = Election::from_text(text).unwrap();
    assert_eq!(kept.voted.map(|key| key.id), Some(NodeId(2)));
    let answers = |actions: Vec<Action>| -> Vec<Action> {
        actions.into_iter().filter(|it| matches!(it, Action::Answer(..))).collect()
    };
    assert!(!granted(&answers(raft.step(Input::Request(Caller(2), vote(3, 4)), now(2)))));
    assert!(granted(&answers(raft.step(Input::Request(Caller(3), vote(2, 4)), now(3)))), "the same again");
    assert!(granted(&answers(raft.step(Input::Request(Caller(4), vote(3, 5)), now(4)))));
}
