//! Every call that is advertised is answered in every version, and nothing else is.

use ottla_base::{ErrorCode, Str};
use ottla_wire::messages::api_versions_request::ApiVersionsRequest;
use ottla_wire::{ApiKey, Message, RequestMessage, Response, Visitor, visit_every_message};

use crate::fixture::Node;

/// Asks a default request of every type in every version.
struct Asked<'a> {
    node: &'a Node,
    advertised: Vec<(i16, i16, i16)>,
    answered: usize,
}

impl Asked<'_> {
    fn ask<Q: Message>(&mut self, key: ApiKey) {
        let Some((_, first, last)) = self.advertised.iter().find(|it| it.0 == key as i16).copied() else {
            return;
        };
        for version in first.max(key.first_version())..=last {
            let client = self.node.connect();
            let reply = client.connection.send(key, version, std::time::Duration::from_secs(20), [], |it| {
                Q::default().encode(it, version)
            });
            let mut reader = match self.node.run(reply) {
                Ok(reader) => reader,
                Err(error) => panic!("{} {version}: {error}", key.name()),
            };
            Response::decode(key, &mut reader, version)
                .unwrap_or_else(|error| panic!("{} {version}: {error}", key.name()));
            reader.finish().unwrap();
            self.answered += 1;
        }
    }
}

impl Visitor for Asked<'_> {
    fn visit<M: Message>(&mut self) {
        let Some(name) = M::NAME.strip_suffix("Request") else { return };
        // A default Produce asks for no answer.
        if name == "Produce" {
            return;
        }
        if let Some(key) = ApiKey::ALL.iter().find(|it| it.name() == name) {
            self.ask::<M>(*key);
        }
    }
}

fn advertised(node: &Node) -> Vec<(i16, i16, i16)> {
    let request = ApiVersionsRequest {
        client_software_name: Str::from("test"),
        client_software_version: Str::from("1"),
        ..Default::default()
    };
    let answer = node.ask(4, &request);
    assert_eq!(answer.error_code, 0);
    answer.api_keys.iter().map(|it| (it.api_key, it.min_version, it.max_version)).collect()
}

#[test]
fn every_advertised_version_is_answered() {
    let node = Node::start(&[]);
    let advertised = advertised(&node);
    assert!(advertised.iter().any(|it| it.0 == ApiKey::Produce as i16 && it.1 == 0), "{advertised:?}");
    let mut asked = Asked { node: &node, advertised, answered: 0 };
    visit_every_message(&mut asked);
    assert!(asked.answered > 100, "{}", asked.answered);
}

#[test]
fn an_unknown_version_of_api_versions_is_told_the_known_ones() {
    let node = Node::start(&[]);
    let client = node.connect();
    let key = ApiVersionsRequest::KEY;
    let answer: ottla_wire::messages::api_versions_response::ApiVersionsResponse = node.run(async {
        let reply = client.connection.send(key, 99, std::time::Duration::from_secs(20), [], |_| Ok(()));
        let mut reader = reply.await.unwrap();
        Message::decode(&mut reader, 0).unwrap()
    });
    assert_eq!(ErrorCode::from_code(answer.error_code), ErrorCode::UnsupportedVersion);
    assert_eq!(answer.api_keys.len(), 1);
    assert_eq!(answer.api_keys[0].max_version, key.last_version());
}

#[test]
fn what_is_not_served_ends_the_connection() {
    let node = Node::start(&[]);
    let client = node.connect();
    let request = ottla_wire::messages::alter_partition_request::AlterPartitionRequest::default();
    assert!(node.run(client.ask(3, &request)).is_err());
    node.run(client.connection.closed());
}
