//! Sessions, step by step.

use super::*;

const TOPIC: Uuid = Uuid([7; 16]);

fn key(member: &str) -> SessionKey {
    SessionKey { group: Str::from("g"), member: Str::from(member) }
}

fn connection(port: u16) -> ConnectionKey {
    ConnectionKey { listener: Str::from("PLAINTEXT"), peer: ([127, 0, 0, 1], port).into() }
}

fn request(member: &str, epoch: i32, added: &[i32], forgotten: &[i32]) -> SessionRequest {
    let ids = |list: &[i32]| list.iter().map(|it| (TOPIC, *it)).collect();
    SessionRequest {
        key: key(member),
        epoch,
        added: ids(added),
        forgotten: ids(forgotten),
        acknowledges: false,
        connection: connection(1),
    }
}

fn partitions(opened: &Opened) -> Vec<i32> {
    opened.partitions().iter().map(|it| it.1).collect()
}

#[test]
fn a_session_remembers_its_partitions_from_fetch_to_fetch() {
    let sessions = Sessions::default();
    assert_eq!(sessions.open(request("a", 1, &[], &[]), 9), Err(ErrorCode::ShareSessionNotFound));
    let opened = sessions.open(request("a", 0, &[0, 1], &[]), 9).unwrap();
    assert_eq!(partitions(&opened), [0, 1]);
    assert_eq!(sessions.open(request("a", 2, &[], &[]), 9), Err(ErrorCode::InvalidShareSessionEpoch));
    let opened = sessions.open(request("a", 1, &[2], &[0]), 9).unwrap();
    assert_eq!(partitions(&opened), [1, 2]);
    // A new partition is mentioned once; then only what there is to say.
    let found = [((TOPIC, 1), Found::Nothing), ((TOPIC, 2), Found::Nothing)];
    assert_eq!(sessions.answer(&key("a"), &opened, &found), Ok(vec![false, true]));
    assert_eq!(sessions.acknowledge(&key("a"), 2), Ok(()));
    assert_eq!(sessions.answer(&key("a"), &opened, &found), Err(ErrorCode::InvalidShareSessionEpoch));
    let opened = sessions.open(request("a", 3, &[], &[]), 9).unwrap();
    let found = [((TOPIC, 1), Found::Wrong), ((TOPIC, 2), Found::Nothing)];
    assert_eq!(sessions.answer(&key("a"), &opened, &found), Ok(vec![true, false]));
    let opened = sessions.open(request("a", 4, &[], &[]), 9).unwrap();
    let found = [((TOPIC, 1), Found::Nothing), ((TOPIC, 2), Found::Records)];
    // What was wrong is mentioned when it is right again.
    assert_eq!(sessions.answer(&key("a"), &opened, &found), Ok(vec![true, true]));
    assert_eq!(sessions.open(request("a", FINAL_EPOCH, &[], &[]), 9), Ok(Opened::Ends));
    let ended = sessions.end(&key("a")).unwrap();
    assert_eq!(ended.partitions, [(TOPIC, 1), (TOPIC, 2)]);
    assert_eq!(sessions.open(request("a", FINAL_EPOCH, &[], &[]), 9), Err(ErrorCode::ShareSessionNotFound));
}

#[test]
fn nobody_acknowledges_without_a_session() {
    let sessions = Sessions::default();
    let acknowledging = SessionRequest { acknowledges: true, ..request("a", 0, &[0], &[]) };
    assert_eq!(sessions.open(acknowledging, 9), Err(ErrorCode::InvalidRequest));
    assert_eq!(sessions.acknowledge(&key("a"), 0), Err(ErrorCode::InvalidShareSessionEpoch));
    assert_eq!(sessions.acknowledge(&key("a"), 1), Err(ErrorCode::ShareSessionNotFound));
    assert_eq!(sessions.acknowledge(&key("a"), FINAL_EPOCH), Err(ErrorCode::ShareSessionNotFound));
}

#[test]
fn sessions_are_limited_and_end_with_their_connections() {
    let sessions = Sessions::default();
    sessions.open(request("a", 0, &[0], &[]), 2).unwrap();
    let b = SessionRequest { connection: connection(2), ..request("b", 0, &[0], &[]) };
    sessions.open(b, 2).unwrap();
    assert_eq!(sessions.open(request("c", 0, &[0], &[]), 2), Err(ErrorCode::ShareSessionLimitReached));
    // Who begins anew takes no more room.
    let b = SessionRequest { connection: connection(3), ..request("b", 0, &[1], &[]) };
    sessions.open(b, 2).unwrap();
    assert_eq!(sessions.disconnected(&connection(2)), Disconnected::default());
    let gone = sessions.disconnected(&connection(3));
    assert_eq!(gone.ended.unwrap().partitions, [(TOPIC, 1)]);
    assert_eq!(gone.empty_group, None);
    let gone = sessions.disconnected(&connection(1));
    assert_eq!((gone.ended.is_some(), gone.empty_group), (true, Some(Str::from("g"))));
    assert_eq!(sessions.counts(), SessionCounts { sessions: 0, partitions: 0, evictions: 2 });
    assert_eq!(next(i32::MAX), 1);
}
