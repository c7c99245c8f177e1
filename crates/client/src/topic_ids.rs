//! Names of topics that a server named by id.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{Str, Uuid};
use ottla_wire::Message;
use ottla_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ottla_wire::messages::metadata_response::MetadataResponse;

use crate::cluster::{Cluster, Deadline, Target};
use crate::error::Error;

/// The names of the topics that a client has to do with.
#[derive(Debug, Default)]
pub(crate) struct TopicNames {
    names: BTreeMap<Uuid, Str>,
}

/// The first version of `Metadata` in which topics are asked for by id.
const FIRST_BY_ID: i16 = 12;

impl TopicNames {
    pub(crate) fn name(&self, id: Uuid) -> Option<&Str> {
        self.names.get(&id)
    }

    pub(crate) fn id(&self, name: &str) -> Option<Uuid> {
        self.names.iter().find(|(_, it)| ***it == *name).map(|(id, _)| *id)
    }

    /// Remembers the names of these topics and no others. What a broker does not know is missing afterwards.
    pub(crate) async fn learn(
        &mut self,
        cluster: &Cluster,
        ids: &BTreeSet<Uuid>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        self.names.retain(|id, _| ids.contains(id));
        let metadata = cluster.metadata();
        for topic in metadata.topics.values().filter(|it| ids.contains(&it.id)) {
            self.names.insert(topic.id, topic.name.clone());
        }
        let missing: Vec<Uuid> = ids.iter().filter(|id| !self.names.contains_key(id)).copied().collect();
        if !missing.is_empty() {
            let answer = ask(cluster, &missing, deadline).await?;
            for topic in answer.topics.into_iter().filter(|it| it.error_code == 0) {
                if let Some(name) = topic.name.filter(|_| ids.contains(&topic.topic_id)) {
                    self.names.insert(topic.topic_id, name.detached());
                }
            }
        }
        for name in self.names.values() {
            cluster.want(name, false);
        }
        Ok(())
    }
}

async fn ask(cluster: &Cluster, ids: &[Uuid], deadline: Deadline) -> Result<MetadataResponse, Error> {
    let topics = ids.iter().map(|id| MetadataRequestTopic { topic_id: *id, ..Default::default() }).collect();
    let request = MetadataRequest {
        topics: Some(topics),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    let asking = async {
        let node = cluster.node(Target::Any, deadline).await?;
        let version = node.version::<MetadataRequest>(&(FIRST_BY_ID..=MetadataRequest::LAST_VERSION))?;
        node.call(version, &request).await
    };
    cluster.within(deadline, Box::pin(asking)).await
}
