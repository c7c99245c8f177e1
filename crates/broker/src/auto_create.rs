//! Topics that come into being because somebody asked for them (`auto.create.topics.enable`).

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_base::{ErrorCode, Str};
use ottla_metadata::controller::{CreateTopics, Names, Reply, Request};
use ottla_wire::messages::create_topics_request::CreateTopicsRequest;
use parking_lot::Mutex;

use crate::broker::Broker;
use crate::shard::creatable_topic as creatable;

/// The most topics that may be on their way at once; more must be asked for again.
const MAX_UNDER_WAY: usize = 1_000;

/// The topics that were asked of the controller and not yet answered.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    names: Mutex<BTreeSet<Str>>,
}

/// Asks the controller for topics with the default number of partitions and replicas, each once at a time.
pub(crate) fn request(broker: &Arc<Broker>, names: Vec<Str>) {
    let mut under_way = broker.auto_created.names.lock();
    let mut wanted = Vec::new();
    for name in names {
        if under_way.len() < MAX_UNDER_WAY && under_way.insert(name.clone()) {
            wanted.push(name);
        }
    }
    drop(under_way);
    if wanted.is_empty() {
        return;
    }
    let broker = broker.clone();
    let host = broker.host.clone();
    host.spawn(async move {
        create(&broker, &wanted).await;
        let mut under_way = broker.auto_created.names.lock();
        wanted.iter().for_each(|name| {
            under_way.remove(name);
        });
    });
}

async fn create(broker: &Broker, names: &[Str]) {
    let settings = broker.settings.load_full();
    let topics = names.iter().map(|name| creatable(broker, &settings, name));
    let request = CreateTopicsRequest { topics: topics.collect(), timeout_ms: 30_000, ..Default::default() };
    let request = CreateTopics { request, creatable: Names::All, describable: Names::All };
    match broker.controller.submit(Request::CreateTopics(request)).await {
        Ok(Reply::CreateTopics(reply)) => {
            for topic in reply.topics {
                match ErrorCode::from_code(topic.error_code) {
                    ErrorCode::None => {
                        tracing::info!(topic = %topic.name, "topic created because it was asked for")
                    }
                    ErrorCode::TopicAlreadyExists => {}
                    code => {
                        tracing::warn!(topic = %topic.name, %code, "a topic could not be created on demand")
                    }
                }
            }
        }
        Ok(_) => tracing::error!("the controller gave the answer to another question"),
        Err(code) => tracing::warn!(%code, "topics could not be created on demand"),
    }
}
