//! Groups and transactions as people use them: read as a member, look where the group is, let it go on elsewhere.

use std::path::Path;

use crate::running::{Server, free_ports};
use serde_json::Value;

fn start(directory: &Path) -> Server {
    let settings = [
        "group.initial.rebalance.delay.ms=0",
        "offsets.topic.num.partitions=2",
        "transaction.state.log.num.partitions=2",
    ];
    Server::start(directory, free_ports(), &settings)
}

fn json(server: &Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&server.prints(arguments, "")).unwrap()
}

#[test]
fn groups_of_both_protocols_go_on_where_they_were_and_where_they_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    server.prints(&["topic", "create", "orders"], "");
    server.prints(&["produce", "orders"], "one\ntwo\nthree\nfour\n");
    for (group, protocol) in [("old", "classic"), ("new", "consumer")] {
        let read = |count: &str| {
            let arguments = ["consume", "orders", "--group", group, "--group-protocol", protocol];
            let rest = ["--from-beginning", "--timeout", "20000", "--max-messages", count];
            server.prints(&[&arguments[..], &rest].concat(), "")
        };
        assert_eq!(read("1"), "one\n", "{group}");
        assert_eq!(read("2"), "two\nthree\n", "{group}");
        let offsets = json(&server, &["group", "offsets", group, "--json"]);
        assert_eq!((&offsets[0]["committed"], &offsets[0]["lag"]), (&Value::from(3), &Value::from(1)));
        let lag = json(&server, &["group", "lag", group, "--json"]);
        assert_eq!((&lag[0]["kind"], &lag[0]["lag"]), (&Value::from(protocol), &Value::from(1)));
        // Without --execute nothing happens.
        let reset = ["group", "reset", group, "--all-topics", "--to-earliest"];
        server.prints(&reset, "");
        assert_eq!(json(&server, &["group", "offsets", group, "--json"])[0]["committed"], 3);
        server.prints(&[&reset[..], &["--execute"]].concat(), "");
        assert_eq!(read("4"), "one\ntwo\nthree\nfour\n", "{group}");
        let shift = ["group", "reset", group, "--topic", "orders:0", "--shift-by", "-1", "--execute"];
        server.prints(&shift, "");
        assert_eq!(read("1"), "four\n", "{group}");
        let why = server.prints(&["group", "describe", group, "--why"], "");
        assert!(why.contains("member-joined"), "{why}");
    }
    let mut listed: Vec<String> = server
        .prints(&["group", "list"], "")
        .lines()
        .skip(1)
        .map(|it| it.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        .collect();
    listed.sort();
    assert_eq!(listed, ["new consumer", "old classic"]);
    server.prints(&["group", "delete", "old", "new"], "");
    let gone = server.run(&["group", "describe", "old"], "");
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8(gone.stderr).unwrap().contains("try: `ottla group list` shows the groups"));
}

#[test]
fn lines_of_a_transaction_are_seen_together_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    server.prints(&["topic", "create", "orders"], "");
    server.prints(&["produce", "orders", "--transactional-id", "import"], "one\ntwo\n");
    // A line without a key ends the second transaction before its end.
    let broken = ["produce", "orders", "--transactional-id", "import", "-K", ":"];
    assert_eq!(server.run(&broken, "k:lost\nkeyless\n").status.code(), Some(1));
    server.prints(&["produce", "orders", "--transactional-id", "import"], "three\n");
    let read =
        ["consume", "orders", "--from-beginning", "--until-end", "--isolation-level", "read_committed"];
    assert_eq!(server.prints(&read, ""), "one\ntwo\nthree\n");
    let listed = json(&server, &["txn", "list", "--json"]);
    assert_eq!(listed[0]["transactional_id"], "import");
    let described = json(&server, &["txn", "describe", "import", "--json"]);
    assert!(described[0]["state"].as_str().unwrap().ends_with("Commit"), "{described}");
    assert_eq!(server.prints(&["txn", "find-hanging", "--topic", "orders"], ""), "No transaction hangs.\n");
}
