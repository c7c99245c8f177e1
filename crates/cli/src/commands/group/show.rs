//! Groups as tables and as JSON.

use std::collections::{BTreeMap, BTreeSet};

use ottla_base::Str;
use ottla_client::TopicPartition;
use ottla_client::admin::{GroupDescription, GroupKind, GroupMember, StreamsMember, StreamsTopology, Tasks};
use serde_json::{Map, Value, json};

use super::offsets::Place;
use crate::commands::client::count_of;
use crate::failure::Outcome;
use crate::output::{Output, Style};

/// A group in detail.
pub(super) type Described = GroupDescription;

/// Prints a group: what it is doing, who is in it, where it is.
pub(super) fn describe(group: &Described, places: &[Place], output: &mut Output) -> Outcome {
    output.line(headline(group))?;
    if let Some(topology) = &group.topology {
        for part in &topology.subtopologies {
            let sources: Vec<&str> = part.sources.iter().map(|it| &**it).collect();
            output.line(format_args!("  subtopology {} reads {}", part.id, sources.join(", ")))?;
        }
    }
    if !group.members.is_empty() {
        output.line("")?;
        members_table(std::slice::from_ref(group), output)?;
    }
    if !places.is_empty() {
        output.line("")?;
        places_table(places, output)?;
    }
    Ok(())
}

fn headline(group: &Described) -> String {
    let kind = group.kind.name().to_lowercase();
    let mut line =
        format!("{}  {kind} group  {}  {}", group.id, group.state, count_of(group.members.len(), "member"));
    if let Some(epoch) = group.epoch {
        line += &format!("  epoch {epoch}");
    }
    if !group.assignor.is_empty() {
        line += &format!("  assignor {}", group.assignor);
    }
    line + &format!("  coordinator {}", group.coordinator)
}

/// Prints members.
pub(super) fn members(groups: &[Described], style: Style, output: &mut Output) -> Outcome {
    if style.json {
        let value = groups.iter().flat_map(|group| group.members.iter().map(|it| member_json(group, it)));
        return output.json(&value.collect());
    }
    members_table(groups, output)
}

fn members_table(groups: &[Described], output: &mut Output) -> Outcome {
    let rows = groups.iter().flat_map(|group| {
        group.members.iter().map(|it| {
            let has = match &it.tasks {
                Some(tasks) => tasks_text(tasks),
                None => partitions_text(&it.assignment),
            };
            [
                group.id.to_string(),
                it.id.to_string(),
                it.instance_id.as_deref().unwrap_or("-").to_owned(),
                it.client_id.to_string(),
                it.host.to_string(),
                it.epoch.map_or_else(|| "-".to_owned(), |it| it.to_string()),
                has,
            ]
        })
    });
    output.table(&["group", "member", "instance", "client", "host", "epoch", "has"], rows)
}

/// Prints where groups are.
pub(super) fn places(places: &[Place], style: Style, output: &mut Output) -> Outcome {
    if style.json {
        return output.json(&places.iter().map(place_json).collect());
    }
    places_table(places, output)
}

fn places_table(places: &[Place], output: &mut Output) -> Outcome {
    let text = |it: Option<i64>| it.map_or_else(|| "-".to_owned(), |it| it.to_string());
    let rows = places.iter().map(|it| {
        [
            it.group.to_string(),
            it.partition.topic.to_string(),
            it.partition.partition.to_string(),
            text(it.committed.map(|it| it.get())),
            text(it.end.map(|it| it.get())),
            text(it.lag),
            it.member.as_deref().unwrap_or("-").to_owned(),
            it.host.as_deref().unwrap_or("-").to_owned(),
            it.client.as_deref().unwrap_or("-").to_owned(),
        ]
    });
    let header = ["group", "topic", "partition", "committed", "end", "lag", "member", "host", "client"];
    output.table(&header, rows)
}

/// Prints how far groups are behind.
pub(super) fn lag(groups: &[Described], places: &[Place], style: Style, output: &mut Output) -> Outcome {
    let sums = groups.iter().map(|group| {
        let of_group = || places.iter().filter(|it| it.group == group.id);
        let topics: BTreeSet<&Str> = of_group().map(|it| &it.partition.topic).collect();
        let unknown = of_group().filter(|it| it.lag.is_none()).count();
        let lag: i64 = of_group().filter_map(|it| it.lag).sum();
        (group, topics.len(), of_group().count(), lag, unknown)
    });
    if style.json {
        let value = sums.map(|(group, topics, partitions, lag, unknown)| {
            json!({
                "group": &*group.id,
                "kind": group.kind.name().to_lowercase(),
                "state": &*group.state,
                "topics": topics,
                "partitions": partitions,
                "lag": lag,
                "partitions_without_lag": unknown,
            })
        });
        return output.json(&value.collect());
    }
    let rows = sums.map(|(group, topics, partitions, lag, unknown)| {
        let lag = if unknown == partitions { "-".to_owned() } else { lag.to_string() };
        let kind = group.kind.name().to_lowercase();
        let (topics, partitions) = (topics.to_string(), partitions.to_string());
        [group.id.to_string(), kind, group.state.to_string(), topics, partitions, lag]
    });
    output.table(&["group", "kind", "state", "topics", "partitions", "lag"], rows)
}

/// A group as JSON.
pub(super) fn as_json(group: &Described, places: &[Place], why: Option<Value>) -> Value {
    let mut value = json!({
        "group": &*group.id,
        "kind": group.kind.name().to_lowercase(),
        "state": &*group.state,
        "protocol_type": &*group.protocol_type,
        "assignor": &*group.assignor,
        "coordinator": group.coordinator.0,
        "epoch": group.epoch,
        "assignment_epoch": group.assignment_epoch,
        "members": group.members.iter().map(|it| member_json(group, it)).collect::<Value>(),
        "offsets": places.iter().map(place_json).collect::<Value>(),
    });
    if let Some(fields) = value.as_object_mut() {
        if let Some(topology) = &group.topology {
            fields.insert("topology".to_owned(), topology_json(topology));
        }
        if let Some(why) = why {
            fields.insert("rebalances".to_owned(), why);
        }
    }
    value
}

fn topology_json(topology: &StreamsTopology) -> Value {
    let names = |it: &[Str]| it.iter().map(|it| json!(&**it)).collect::<Value>();
    let parts = topology.subtopologies.iter().map(|it| {
        json!({
            "id": &*it.id,
            "sources": names(&it.sources),
            "repartition_sinks": names(&it.repartition_sinks),
            "repartition_sources": names(&it.repartition_sources),
            "changelogs": names(&it.changelogs),
        })
    });
    json!({"epoch": topology.epoch, "subtopologies": parts.collect::<Value>()})
}

fn member_json(group: &Described, member: &GroupMember) -> Value {
    let mut value = json!({
        "group": &*group.id,
        "member": &*member.id,
        "instance": member.instance_id.as_deref(),
        "client": &*member.client_id,
        "host": &*member.host,
        "rack": member.rack.as_deref(),
        "epoch": member.epoch,
        "topics": member.topics.iter().map(|it| json!(&**it)).collect::<Value>(),
        "pattern": member.pattern.as_deref(),
        "assignment": partitions_json(&member.assignment),
        "target": member.target.as_ref().map(partitions_json),
        "classic": member.is_classic,
    });
    if let (Some(fields), Some(tasks)) = (value.as_object_mut(), &member.tasks) {
        fields.insert("tasks".to_owned(), tasks_json(tasks));
    }
    value
}

fn tasks_json(member: &StreamsMember) -> Value {
    let tasks = |it: &Tasks| {
        let parts = it.iter().map(|(part, partitions)| (part.to_string(), json!(partitions)));
        Value::Object(parts.collect::<Map<_, _>>())
    };
    json!({
        "process": &*member.process_id,
        "topology_epoch": member.topology_epoch,
        "endpoint": member.endpoint.as_ref().map(|(host, port)| format!("{host}:{port}")),
        "active": tasks(&member.active),
        "standby": tasks(&member.standby),
        "warmup": tasks(&member.warmup),
        "target_active": tasks(&member.target_active),
        "target_standby": tasks(&member.target_standby),
        "target_warmup": tasks(&member.target_warmup),
    })
}

fn partitions_json(partitions: &BTreeSet<TopicPartition>) -> Value {
    let all = partitions.iter().map(|it| json!({"topic": &*it.topic, "partition": it.partition.get()}));
    all.collect()
}

fn place_json(place: &Place) -> Value {
    json!({
        "group": &*place.group,
        "topic": &*place.partition.topic,
        "partition": place.partition.partition.get(),
        "committed": place.committed.map(|it| it.get()),
        "end": place.end.map(|it| it.get()),
        "lag": place.lag,
        "member": place.member.as_deref(),
        "host": place.host.as_deref(),
        "client": place.client.as_deref(),
    })
}

/// `orders:0,1 bills:3`.
pub(super) fn partitions_text(partitions: &BTreeSet<TopicPartition>) -> String {
    let mut topics: BTreeMap<&Str, Vec<String>> = BTreeMap::new();
    for it in partitions {
        topics.entry(&it.topic).or_default().push(it.partition.to_string());
    }
    let topics = topics.into_iter().map(|(topic, numbers)| format!("{topic}:{}", numbers.join(",")));
    let text = topics.collect::<Vec<_>>().join(" ");
    if text.is_empty() { "-".to_owned() } else { text }
}

fn tasks_text(member: &StreamsMember) -> String {
    let kinds = [("active", &member.active), ("standby", &member.standby), ("warm-up", &member.warmup)];
    let kinds = kinds.into_iter().filter(|(_, tasks)| !tasks.is_empty()).map(|(kind, tasks)| {
        let tasks =
            tasks.iter().flat_map(|(part, numbers)| numbers.iter().map(move |it| format!("{part}_{it}")));
        format!("{kind} {}", tasks.collect::<Vec<_>>().join(","))
    });
    let text = kinds.collect::<Vec<_>>().join("; ");
    if text.is_empty() { "-".to_owned() } else { text }
}

/// Whether a group's offsets may be changed: only while nobody reads.
pub(super) fn is_inactive(group: &Described) -> bool {
    let idle = matches!(group.state.as_str(), "Empty" | "Dead");
    idle || (group.kind == GroupKind::Classic && group.members.is_empty() && group.state.is_empty())
}
