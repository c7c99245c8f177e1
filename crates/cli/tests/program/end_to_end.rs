//! The program as people use it: a server, a first record, a stop, and the record is still there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};

use crate::running::{Server, free_ports};
use ottla_wire::messages::describe_cluster_request::DescribeClusterRequest;
use ottla_wire::messages::describe_quorum_request::{DescribeQuorumRequest, PartitionData, TopicData};
use ottla_wire::messages::elect_leaders_request::ElectLeadersRequest;
use ottla_wire::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ottla_wire::records::header::{RequestHeader, ResponseHeader};
use ottla_wire::{Message, Reader, RequestMessage, Writer, request_header_version, response_header_version};

const OTTLA: &str = env!("CARGO_BIN_EXE_ottla");

#[test]
fn a_record_survives_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let ports = free_ports();
    let server = Server::start(directory.path(), ports, &[]);
    server
        .prints(&["topic", "create", "orders", "--partitions", "2", "--config", "retention.ms=3600000"], "");
    server.prints(&["produce", "orders", "-K", ":", "-H", "source=test"], "a:one\nb:two\nc:three\n");
    let all = ["consume", "orders", "--from-beginning", "--until-end", "--format", "%k=%v [%h]\\n"];
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let expected = ["a=one [source=test]", "b=two [source=test]", "c=three [source=test]"];
    assert_eq!(sorted(server.prints(&all, "")), expected);
    server.stop();

    let server = Server::start(directory.path(), ports, &[]);
    assert_eq!(sorted(server.prints(&all, "")), expected);
    assert_eq!(server.prints(&["topic", "list"], ""), "orders\n");
    let described = server.prints(&["topic", "describe", "orders", "--json"], "");
    let described: serde_json::Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described[0]["configs"]["retention.ms"], "3600000");
    assert_eq!(described[0]["partitions"].as_array().unwrap().len(), 2);
    server.prints(&["config", "alter", "topic", "orders", "--delete", "retention.ms"], "");
    assert!(server.prints(&["config", "describe", "topic", "orders"], "").starts_with("Nothing is set"));
    let cluster = server.prints(&["cluster", "describe", "--json"], "");
    let cluster: serde_json::Value = serde_json::from_str(&cluster).unwrap();
    assert_eq!(cluster["quorum"]["leader"], 1);
    let measured = server.prints(&["perf", "produce", "load", "-n", "2000", "-s", "100", "--json"], "");
    let measured: serde_json::Value = serde_json::from_str(&measured).unwrap();
    assert_eq!(measured["records"], 2000);
    let measured = server.prints(&["perf", "consume", "load", "-n", "2000", "--json"], "");
    assert!(measured.contains("\"records\":2000,\"bytes\":200000,"));
    server.prints(&["topic", "delete", "load"], "");
    server.stop();

    let checked =
        Command::new(OTTLA).args(["log", "dump", "--verify-only"]).arg(directory.path()).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn what_goes_wrong_is_told_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let ports = free_ports();
    let complaint = |output: Output, code: i32| {
        assert_eq!(output.status.code(), Some(code));
        String::from_utf8(output.stderr).unwrap()
    };
    let nobody =
        Command::new(OTTLA).args(["topic", "list", "-b", &format!("127.0.0.1:{}", ports[0])]).output();
    assert!(complaint(nobody.unwrap(), 1).contains("try: start a server with `ottla start`"));
    let wrong = Command::new(OTTLA).args(["start", "--override", "log.retention.hours=x"]).output();
    assert!(complaint(wrong.unwrap(), 1).contains("log.retention.hours"));

    let server = Server::start(directory.path(), ports, &[]);
    let none = server.run(&["consume", "none"], "");
    assert!(complaint(none, 1).contains("try: `ottla topic list` shows the topics"));
    server.prints(&["topic", "create", "orders"], "");
    let again = server.run(&["topic", "create", "orders"], "");
    assert!(complaint(again, 1).contains("TOPIC_ALREADY_EXISTS"));
    server.prints(&["topic", "create", "orders", "--if-not-exists"], "");
    let behind = server.run(&["consume", "orders", "--offset", "9", "--until-end"], "");
    assert!(complaint(behind, 1).contains("the log ends at 0"));
    let keyless = server.run(&["produce", "orders", "-K", ":"], "no key\n");
    assert!(complaint(keyless, 1).contains("line 1: there is no \":\" between key and value"));
    server.stop();
}

/// Sends a request in one version, as a client of any age does, and gives the answer.
fn ask<Q: RequestMessage>(address: &str, version: i16, request: &Q) -> Q::Response {
    let header = RequestHeader {
        request_api_key: Q::KEY as i16,
        request_api_version: version,
        client_id: Some("test".into()),
        ..RequestHeader::default()
    };
    let mut writer = Writer::with_capacity(256);
    header.encode(&mut writer, request_header_version(Q::KEY, version)).unwrap();
    request.encode(&mut writer, version).unwrap();
    let frame = writer.into_bytes();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&frame).unwrap();
    let mut size = [0; 4];
    stream.read_exact(&mut size).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer).unwrap();
    let mut reader = Reader::new(answer.into());
    ResponseHeader::decode(&mut reader, response_header_version(Q::KEY, version)).unwrap();
    Q::Response::decode(&mut reader, version).unwrap()
}

#[test]
fn clients_of_any_age_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), free_ports(), &[]);
    server.prints(&["produce", "orders"], "one\ntwo\n");
    let partition = ListOffsetsPartition { timestamp: -1, ..ListOffsetsPartition::default() };
    let topic = ListOffsetsTopic { name: "orders".into(), partitions: vec![partition], ..Default::default() };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    for version in ListOffsetsRequest::FIRST_VERSION..=ListOffsetsRequest::LAST_VERSION {
        let answer = ask(&server.address, version, &request);
        let found = &answer.topics[0].partitions[0];
        assert_eq!((found.error_code, found.offset), (0, 2), "version {version}");
    }
    let topic = TopicData {
        topic_name: "__cluster_metadata".into(),
        partitions: vec![PartitionData::default()],
        ..Default::default()
    };
    let request = DescribeQuorumRequest { topics: vec![topic], ..Default::default() };
    for version in DescribeQuorumRequest::FIRST_VERSION..=DescribeQuorumRequest::LAST_VERSION {
        let answer = ask(&server.address, version, &request);
        assert_eq!(answer.topics[0].partitions[0].leader_id, 1, "version {version}");
    }
    for version in DescribeClusterRequest::FIRST_VERSION..=DescribeClusterRequest::LAST_VERSION {
        let answer = ask(&server.address, version, &DescribeClusterRequest::default());
        assert_eq!(answer.brokers[0].broker_id, 1, "version {version}");
    }
    for version in ElectLeadersRequest::FIRST_VERSION..=ElectLeadersRequest::LAST_VERSION {
        let request = ElectLeadersRequest { topic_partitions: None, timeout_ms: 1000, ..Default::default() };
        assert_eq!(ask(&server.address, version, &request).error_code, 0, "version {version}");
    }
    server.stop();
}

#[test]
fn the_doctor_says_whether_a_server_could_start() {
    let directory = tempfile::tempdir().unwrap();
    let ports = free_ports();
    let data = directory.path().join("data");
    let doctor = |more: &[&str]| {
        let overrides = [
            format!("log.dirs={}", data.display()),
            format!("listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}", ports[0], ports[1]),
            format!("controller.quorum.bootstrap.servers=127.0.0.1:{}", ports[1]),
        ];
        let mut command = Command::new(OTTLA);
        // Variables of whoever runs the test are no settings.
        command.args(["doctor", "--json"]).env_clear();
        for it in overrides.iter().map(String::as_str).chain(more.iter().copied()) {
            command.args(["--override", it]);
        }
        let output = command.output().unwrap();
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), said)
    };
    let (code, said) = doctor(&[]);
    assert_eq!((code, &said["ready"]), (Some(2), &serde_json::json!(false)), "{said}");
    let server = Server::start(&data, ports, &[]);
    server.prints(&["topic", "create", "orders", "--partitions", "3"], "");
    let (code, said) = doctor(&[]);
    assert_eq!((code, &said["directories"][0]["state"]), (Some(2), &serde_json::json!("in use")), "{said}");
    server.stop();
    let (code, said) = doctor(&[]);
    assert_eq!((code, &said["ready"]), (Some(0), &serde_json::json!(true)), "{said}");
    assert_eq!(said["directories"][0]["partitions"], 3);
    assert_eq!(said["cluster"]["topics"], 1);
    let (code, _) = doctor(&["log.message.format.version=3.0"]);
    assert_eq!(code, Some(1), "a warning");
    let (code, said) = doctor(&["num.partitions=many"]);
    assert_eq!(code, Some(2), "{said}");
}
