//! Deleting topics, by name or by id.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::{ErrorCode, Str, Uuid};
use ottla_wire::messages::delete_topics_request::DeleteTopicsRequest;
use ottla_wire::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use ottla_wire::records::metadata::{MetadataRecord, RemoveTopicRecord};

use super::{
    Decided, Deciding, MAX_RECORDS_PER_REQUEST, Names, Refusal, TopicDeletion, parts, too_many_records,
};

/// Topics are to be deleted.
#[derive(Debug, Clone)]
pub struct DeleteTopics {
    /// What was asked.
    pub request: DeleteTopicsRequest,
    /// The version in which it was asked: before 3, nobody knew that deletion can be disabled.
    pub version: i16,
    /// Topics that whoever asks may delete.
    pub deletable: Names,
    /// Topics that whoever asks may know of.
    pub describable: Names,
}

pub(super) fn decide(deciding: &mut Deciding<'_>, asked: DeleteTopics) -> Decided<DeleteTopicsResponse> {
    let refusal = match (deciding.options.topic_deletion, asked.version) {
        (TopicDeletion::Enabled, _) => None,
        (TopicDeletion::Disabled, ..3) => Some(ErrorCode::InvalidRequest),
        (TopicDeletion::Disabled, _) => Some(ErrorCode::TopicDeletionDisabled),
    };
    if let Some(code) = refusal {
        return refuse_all(&asked.request, code.into());
    }
    let mut responses = Vec::new();
    let ids = deciding.topics_to_delete(&asked, &mut responses);
    if ids.len() > MAX_RECORDS_PER_REQUEST {
        return refuse_all(&asked.request, too_many_records());
    }
    let mut records = Vec::with_capacity(ids.len());
    for (topic_id, name) in ids {
        records.push(MetadataRecord::RemoveTopicRecord(RemoveTopicRecord { topic_id, ..Default::default() }));
        responses.push(result(Some(name), topic_id, Ok(())));
    }
    // The order must not tell topics that do not exist from topics that may not be seen.
    for last in (1..responses.len()).rev() {
        responses.swap(last, deciding.entropy.below(last + 1));
    }
    Decided::together(records, DeleteTopicsResponse { responses, ..Default::default() })
}

fn result(name: Option<Str>, topic_id: Uuid, result: Result<(), Refusal>) -> DeletableTopicResult {
    let (error_code, error_message) = parts(result);
    DeletableTopicResult { name, topic_id, error_code, error_message, ..Default::default() }
}

fn refuse_all(request: &DeleteTopicsRequest, refusal: Refusal) -> Decided<DeleteTopicsResponse> {
    let by_state = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
    let by_name = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::ZERO));
    let refused = by_state.chain(by_name).map(|(name, id)| result(name, id, Err(refusal.code.into())));
    Decided::reply(DeleteTopicsResponse { responses: refused.collect(), ..Default::default() })
}

/// Values that were named once, and values that were named more often.
fn once_and_more<T: Ord + Clone>(values: impl Iterator<Item = T>) -> (BTreeSet<T>, BTreeSet<T>) {
    let (mut once, mut more) = (BTreeSet::new(), BTreeSet::new());
    for value in values {
        if more.contains(&value) || !once.insert(value.clone()) {
            once.remove(&value);
            more.insert(value);
        }
    }
    (once, more)
}

impl Deciding<'_> {
    /// The topics that exist and may be deleted. Of the others, `responses` says what is wrong.
    fn topics_to_delete(
        &self,
        asked: &DeleteTopics,
        responses: &mut Vec<DeletableTopicResult>,
    ) -> BTreeMap<Uuid, Str> {
        let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
        let unauthorized = || Err(ErrorCode::TopicAuthorizationFailed.into());
        let (mut names, mut ids) = (asked.request.topic_names.clone(), Vec::new());
        for topic in &asked.request.topics {
            match (&topic.name, topic.topic_id) {
                (None, Uuid::ZERO) => {
                    let refusal = invalid("Neither topic name nor id were specified.");
                    responses.push(result(None, Uuid::ZERO, refusal));
                }
                (None, id) => ids.push(id),
                (Some(name), Uuid::ZERO) => names.push(name.clone()),
                (Some(name), id) => {
                    let refusal = invalid("You may not specify both topic name and topic id.");
                    responses.push(result(Some(name.clone()), id, refusal));
                }
            }
        }
        let (names, names_again) = once_and_more(names.into_iter());
        let (ids, mut ids_again) = once_and_more(ids.into_iter());
        let again =
            names_again.into_iter().map(|it| result(Some(it), Uuid::ZERO, invalid("Duplicate topic name.")));
        responses.extend(again);
        responses.extend(ids_again.iter().map(|it| result(None, *it, invalid("Duplicate topic id."))));
        let mut found = BTreeMap::new();
        for id in ids {
            match self.image.topics.get(id).map(|topic| topic.name.clone()) {
                None => {
                    responses.push(result(None, id, Err(Refusal::in_common_words(ErrorCode::UnknownTopicId))))
                }
                Some(name) if asked.deletable.contains(&name) => drop(found.insert(id, name)),
                Some(name) => {
                    let shown = asked.describable.contains(&name).then_some(name);
                    responses.push(result(shown, id, unauthorized()));
                }
            }
        }
        for name in names {
            let id = self.image.topics.id(&name);
            let (id, refusal) = match id {
                _ if !asked.describable.contains(&name) => (Uuid::ZERO, unauthorized()),
                None => (Uuid::ZERO, Err(Refusal::in_common_words(ErrorCode::UnknownTopicOrPartition))),
                Some(_) if !asked.deletable.contains(&name) => (Uuid::ZERO, unauthorized()),
                Some(id) if ids_again.contains(&id) || found.remove(&id).is_some() => {
                    ids_again.insert(id);
                    (id, invalid("The provided topic name maps to an ID that was already supplied."))
                }
                Some(id) => {
                    found.insert(id, name);
                    continue;
                }
            };
            responses.push(result(Some(name), id, refusal));
        }
        found
    }
}
