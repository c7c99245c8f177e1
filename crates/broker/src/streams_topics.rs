//! The internal topics of streams groups, made when a member hears that they are missing
//! (`AutoTopicCreationManager.createStreamsInternalTopics`).
//!
//! A topic is asked for once at a time, and not again for a while after it could not be made; meanwhile, members hear
//! why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ErrorCode, Moment, Str};
use ottla_metadata::controller::{CreateTopics, Names, Reply, Request};
use ottla_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use parking_lot::Mutex;

use crate::broker::Broker;

/// The most topics that may be on their way at once; more must be asked for again.
const MAX_UNDER_WAY: usize = 10_000;

/// The most topics of which it is remembered that they could not be made.
const MAX_FAILED: usize = 1_000;

/// How long the controller may take.
const TIMEOUT_MS: i32 = 30_000;

/// What is being made, and what could not be made a short time ago.
#[derive(Debug, Default)]
pub(crate) struct StreamsTopics {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    under_way: BTreeSet<Str>,
    failed: BTreeMap<Str, Failure>,
}

#[derive(Debug)]
struct Failure {
    why: String,
    until: Moment,
}

impl StreamsTopics {
    /// Which of `names` could not be made a short time ago, and why.
    pub(crate) fn failures(&self, names: &[Str], now: Moment) -> Vec<(Str, String)> {
        let known = self.known.lock();
        let failed = names.iter().filter_map(|name| Some((name, known.failed.get(name)?)));
        let failed = failed.filter(|(_, failure)| failure.until > now);
        failed.map(|(name, failure)| (name.clone(), failure.why.clone())).collect()
    }

    /// The topics that are to be asked for now: they are under way from here on.
    fn begin(&self, topics: Vec<CreatableTopic>, now: Moment) -> Vec<CreatableTopic> {
        let mut known = self.known.lock();
        known.failed.retain(|_, failure| failure.until > now);
        let mut wanted = Vec::new();
        for topic in topics {
            let may_begin = !known.failed.contains_key(&topic.name) && known.under_way.len() < MAX_UNDER_WAY;
            if may_begin && known.under_way.insert(topic.name.detached()) {
                wanted.push(topic);
            }
        }
        wanted
    }

    /// Topics are not under way any more; some of them could not be made.
    fn end(&self, names: &[Str], failed: Vec<(Str, String)>, until: Moment) {
        let mut known = self.known.lock();
        for name in names {
            known.under_way.remove(name);
        }
        for (name, why) in failed {
            if known.failed.len() < MAX_FAILED {
                known.failed.insert(name.detached(), Failure { why, until });
            }
        }
    }
}

/// Asks the controller for topics, unless that was done already. Whatever cannot be made is not asked for again for
/// `patience`.
pub(crate) fn request(broker: &Arc<Broker>, topics: Vec<CreatableTopic>, patience: Duration) {
    let wanted = broker.streams_topics.begin(topics, broker.host.now());
    if wanted.is_empty() {
        return;
    }
    let broker = broker.clone();
    let host = broker.host.clone();
    host.spawn(async move {
        let names: Vec<Str> = wanted.iter().map(|topic| topic.name.clone()).collect();
        let failed = create(&broker, wanted, &names).await;
        broker.streams_topics.end(&names, failed, broker.host.now() + patience);
    });
}

/// Returns what could not be made.
async fn create(broker: &Broker, topics: Vec<CreatableTopic>, names: &[Str]) -> Vec<(Str, String)> {
    let request = CreateTopicsRequest { topics, timeout_ms: TIMEOUT_MS, ..Default::default() };
    let request = CreateTopics { request, creatable: Names::All, describable: Names::All };
    let answer = match broker.controller.submit(Request::CreateTopics(request)).await {
        Ok(Reply::CreateTopics(reply)) => Ok(reply),
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(code) => Err(code),
    };
    let reply = match answer {
        Ok(reply) => reply,
        Err(code) => {
            tracing::warn!(%code, "internal topics of a streams group could not be created");
            return names.iter().map(|name| (name.clone(), code.message().to_owned())).collect();
        }
    };
    let mut failed = Vec::new();
    for topic in reply.topics {
        match ErrorCode::from_code(topic.error_code) {
            ErrorCode::None => {
                tracing::info!(topic = %topic.name, "internal topic of a streams group created")
            }
            ErrorCode::TopicAlreadyExists => {}
            code => {
                tracing::warn!(topic = %topic.name, %code, "an internal topic of a streams group could not be created");
                let words = topic.error_message.filter(|words| !words.is_empty());
                failed.push((topic.name, words.map_or(code.message().to_owned(), |it| it.to_string())));
            }
        }
    }
    failed
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CreatableTopic, MAX_FAILED, Moment, Str, StreamsTopics};

    fn topic(name: &str) -> CreatableTopic {
        CreatableTopic { name: name.into(), ..Default::default() }
    }

    #[test]
    fn a_topic_is_asked_for_once_and_not_again_for_a_while_after_a_failure() {
        let at = |seconds| Moment(Duration::from_secs(seconds));
        let topics = StreamsTopics::default();
        assert_eq!(topics.begin(vec![topic("a"), topic("b")], at(0)).len(), 2);
        assert_eq!(topics.begin(vec![topic("a"), topic("c")], at(0)), [topic("c")]);
        let names: Vec<Str> = ["a", "b", "c"].map(Str::from).to_vec();
        topics.end(&names, vec![("a".into(), "no room".to_owned())], at(10));
        assert_eq!(topics.failures(&names, at(9)), [("a".into(), "no room".to_owned())]);
        assert_eq!(topics.begin(vec![topic("a"), topic("b")], at(9)), [topic("b")]);
        assert!(topics.failures(&names, at(10)).is_empty());
        assert_eq!(topics.begin(vec![topic("a")], at(10)), [topic("a")]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let topics = StreamsTopics::default();
        let failed = (0..2 * MAX_FAILED).map(|at| (Str::from(at.to_string()), String::new()));
        topics.end(&[], failed.collect(), Moment(Duration::from_secs(1)));
        assert_eq!(topics.known.lock().failed.len(), MAX_FAILED);
    }
}
