//! Values of a topic, group or subscription that exclude each other, and steps that a running broker cannot
//! take.

use ottla_base::settings::{InvalidSetting, Scope, Setting, Table, Texts};

use super::alter::Refusal;
use super::layers::without_listener;
use super::listeners::Listeners;
use super::{ClientMetricsSettings, GroupSettings, ResourceKind, ServerSettings, TopicSettings};

/// Judges a topic's settings: `own` before, `all` after, `combined` with what the server gives.
pub(super) fn check_topic(
    own: &Texts,
    all: &Texts,
    combined: &Texts,
    server: &ServerSettings,
) -> Result<(), Refusal> {
    if let Some(unknown) = all.keys().find(|it| !ResourceKind::Topic.settings().contains_key(it.as_str())) {
        return Err(Refusal::invalid_config(format!("Unknown topic config name: {unknown}")));
    }
    let refused = |it: InvalidSetting| Refusal::invalid_config(it.to_string());
    let topic = TopicSettings::read(combined).map_err(refused)?;
    let (least, most) = (topic.min_compaction_lag_ms, topic.max_compaction_lag_ms);
    if least > most {
        return Err(Refusal::invalid_config(format!(
            "conflict topic config setting min.compaction.lag.ms ({least}) > max.compaction.lag.ms ({most})"
        )));
    }
    if topic.remote_storage_enable {
        return check_tiered_topic(&topic, server).map_err(refused);
    }
    let was_tiered = own.get("remote.storage.enable").is_some_and(|it| it.eq_ignore_ascii_case("true"));
    if was_tiered && !topic.remote_log_delete_on_disable {
        return Err(Refusal::invalid_config(
            "It is invalid to disable remote storage without deleting remote data. If you want to keep the \
             remote data and turn to read only, please set \
             `remote.storage.enable=true,remote.log.copy.disable=true`. If you want to disable remote \
             storage and delete all remote data, please set `remote.storage.enable=false,remote.log.delete.on.disable=true`.",
        ));
    }
    Ok(())
}

fn check_tiered_topic(topic: &TopicSettings, server: &ServerSettings) -> Result<(), InvalidSetting> {
    if !server.tiered.remote_log_storage_system_enable {
        return Err(InvalidSetting::new(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote \
             log storage.",
        ));
    }
    if !matches!(topic.cleanup_policy.iter().map(String::as_str).collect::<Vec<_>>()[..], [] | ["delete"]) {
        return Err(InvalidSetting::new(
            "Remote log storage only supports topics with cleanup.policy=delete or cleanup.policy being an \
             empty list.",
        ));
    }
    let (bytes, ms) = (topic.retention_bytes, topic.retention_ms);
    let (local_bytes, local_ms) = (topic.local_retention_bytes, topic.local_retention_ms);
    refuse_local("local.retention.bytes", local_bytes, "retention.bytes", bytes)?;
    refuse_local("local.retention.ms", local_ms, "retention.ms", ms)?;
    let lags = [
        ("remote.copy.lag.bytes", topic.remote_copy_lag_bytes, "local.retention.bytes", local_bytes, bytes),
        ("remote.copy.lag.ms", topic.remote_copy_lag_ms, "local.retention.ms", local_ms, ms),
    ];
    for (name, lag, local_name, local, whole) in lags {
        let kept = if local == -2 { whole } else { local };
        if lag > 0 && kept >= 0 && lag > kept {
            let reason = format!("Value must not exceed {local_name} (effective value: {kept})");
            return Err(InvalidSetting::value(name, lag, &reason));
        }
    }
    let kept = [("bytes", local_bytes, bytes), ("ms", local_ms, ms)];
    for (unit, local, whole) in kept {
        if topic.remote_log_copy_disable && local != -2 && local != whole {
            return Err(InvalidSetting::new(format!(
                "When `remote.log.copy.disable` is set to true, the `local.retention.{unit}` and \
                 `retention.{unit}` must be set to the identical value because there will be no more logs copied to the remote storage."
            )));
        }
    }
    Ok(())
}

/// What stays on the local disk cannot be more than what is kept at all.
pub(super) fn refuse_local(
    name: &str,
    local: i64,
    whole_name: &str,
    whole: i64,
) -> Result<(), InvalidSetting> {
    if whole < 0 || local == -2 {
        return Ok(());
    }
    if local == -1 {
        let reason = format!("Value must not be -1 as {whole_name} value is set as {whole}.");
        return Err(InvalidSetting::value(name, local, &reason));
    }
    if local > whole {
        let reason = format!("Value must not be more than {whole_name} property value: {whole}");
        return Err(InvalidSetting::value(name, local, &reason));
    }
    Ok(())
}

/// A group's key, and the least and most that the server allows.
pub(super) type Bound = (&'static str, Option<i32>, Option<i32>);

pub(super) fn group_bounds(server: &ServerSettings) -> [Bound; 15] {
    let consumer = &server.groups;
    let share = &server.share_groups;
    let streams = &server.streams_groups;
    let between = |name, least, most| (name, Some(least), Some(most));
    [
        between(
            "consumer.heartbeat.interval.ms",
            consumer.group_consumer_min_heartbeat_interval_ms,
            consumer.group_consumer_max_heartbeat_interval_ms,
        ),
        between(
            "consumer.session.timeout.ms",
            consumer.group_consumer_min_session_timeout_ms,
            consumer.group_consumer_max_session_timeout_ms,
        ),
        between(
            "consumer.assignment.interval.ms",
            consumer.group_consumer_min_assignment_interval_ms,
            consumer.group_consumer_max_assignment_interval_ms,
        ),
        between(
            "share.heartbeat.interval.ms",
            share.group_share_min_heartbeat_interval_ms,
            share.group_share_max_heartbeat_interval_ms,
        ),
        between(
            "share.session.timeout.ms",
            share.group_share_min_session_timeout_ms,
            share.group_share_max_session_timeout_ms,
        ),
        between(
            "share.record.lock.duration.ms",
            share.group_share_min_record_lock_duration_ms,
            share.group_share_max_record_lock_duration_ms,
        ),
        between(
            "share.delivery.count.limit",
            share.group_share_min_delivery_count_limit,
            share.group_share_max_delivery_count_limit,
        ),
        between(
            "share.partition.max.record.locks",
            share.group_share_min_partition_max_record_locks,
            share.group_share_max_partition_max_record_locks,
        ),
        between(
            "share.assignment.interval.ms",
            share.group_share_min_assignment_interval_ms,
            share.group_share_max_assignment_interval_ms,
        ),
        between(
            "streams.heartbeat.interval.ms",
            streams.group_streams_min_heartbeat_interval_ms,
            streams.group_streams_max_heartbeat_interval_ms,
        ),
        between(
            "streams.session.timeout.ms",
            streams.group_streams_min_session_timeout_ms,
            streams.group_streams_max_session_timeout_ms,
        ),
        ("streams.num.standby.replicas", None, Some(streams.group_streams_max_standby_replicas)),
        between(
            "streams.assignment.interval.ms",
            streams.group_streams_min_assignment_interval_ms,
            streams.group_streams_max_assignment_interval_ms,
        ),
        ("streams.task.offset.interval.ms", Some(streams.group_streams_min_task_offset_interval_ms), None),
        ("streams.num.warmup.replicas", None, Some(streams.group_streams_max_warmup_replicas)),
    ]
}

/// Judges a group's own settings.
pub(super) fn check_group(group: &str, all: &Texts, server: &ServerSettings) -> Result<(), Refusal> {
    if group.is_empty() {
        return Err(Refusal::invalid_request("Default group resources are not allowed."));
    }
    if let Some(unknown) = all.keys().find(|it| !ResourceKind::Group.settings().contains_key(it.as_str())) {
        return Err(Refusal::invalid_config(format!("Unknown group config name: {unknown}")));
    }
    let refused = |it: InvalidSetting| Refusal::invalid_config(it.to_string());
    let values = GroupSettings::read(all).map_err(refused)?;
    if let Some(tags) = all.get("streams.rack.aware.assignment.tags")
        && tags.split(',').filter(|it| !it.trim().is_empty()).count()
            != values.streams_rack_aware_assignment_tags.len()
    {
        return Err(Refusal::invalid_config(
            "streams.rack.aware.assignment.tags must not contain duplicate tag keys.",
        ));
    }
    for (name, least, most) in group_bounds(server) {
        // What the group did not set itself follows the server, whatever the bounds.
        let Some(value) = all.get(name).and_then(|it| it.trim().parse::<i32>().ok()) else { continue };
        let too_small = least.is_some_and(|it| value < it);
        let too_large = most.is_some_and(|it| value > it);
        let words = match (least, most) {
            (Some(least), Some(most)) if too_small || too_large => {
                format!("must be in the range {least} to {most} inclusive.")
            }
            (Some(least), _) if too_small => format!("must be greater than or equal to {least}"),
            (_, Some(most)) if too_large => format!("must be less than or equal to {most}"),
            _ => continue,
        };
        return Err(Refusal::invalid_config(format!("{name} {words}")));
    }
    let assignors = &server.streams_groups.group_streams_assignors;
    if let Some(assignor) = &values.streams_assignor_name
        && !assignors.contains(assignor)
    {
        return Err(Refusal::invalid_config(format!(
            "streams.assignor.name '{assignor}' is not a registered task assignor. Registered assignors \
             are: [{}].",
            assignors.join(", ")
        )));
    }
    check_sessions(all, server)?;
    if values.errors_deadletterqueue_topic_name.starts_with("__") {
        return Err(Refusal::invalid_config(
            "errors.deadletterqueue.topic.name: DLQ topic name must not start with '__'",
        ));
    }
    Ok(())
}

/// A session must outlast a heartbeat, where the group sets one of the two.
fn check_sessions(all: &Texts, server: &ServerSettings) -> Result<(), Refusal> {
    let consumer = &server.groups;
    let (share, streams) = (&server.share_groups, &server.streams_groups);
    let pairs = [
        (
            "consumer.session.timeout.ms",
            consumer.group_consumer_session_timeout_ms,
            "consumer.heartbeat.interval.ms",
            consumer.group_consumer_heartbeat_interval_ms,
        ),
        (
            "share.session.timeout.ms",
            share.group_share_session_timeout_ms,
            "share.heartbeat.interval.ms",
            share.group_share_heartbeat_interval_ms,
        ),
        (
            "streams.session.timeout.ms",
            streams.group_streams_session_timeout_ms,
            "streams.heartbeat.interval.ms",
            streams.group_streams_heartbeat_interval_ms,
        ),
    ];
    for (session_name, session, heartbeat_name, heartbeat) in pairs {
        let own = |name: &str| all.get(name).and_then(|it| it.trim().parse::<i32>().ok());
        let (own_session, own_heartbeat) = (own(session_name), own(heartbeat_name));
        if own_session.is_none() && own_heartbeat.is_none() {
            continue;
        }
        if own_session.unwrap_or(session) <= own_heartbeat.unwrap_or(heartbeat) {
            return Err(Refusal::invalid_config(format!(
                "{session_name} must be greater than {heartbeat_name}"
            )));
        }
    }
    Ok(())
}

/// What a subscription may match clients by.
const MATCHED_PROPERTIES: [&str; 6] = [
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// Judges a subscription to the metrics of clients.
pub(super) fn check_client_metrics(subscription: &str, all: &Texts) -> Result<(), Refusal> {
    if subscription.is_empty() {
        return Err(Refusal::invalid_request("Subscription name can't be empty"));
    }
    let known = ResourceKind::ClientMetrics.settings();
    if let Some(unknown) = all.keys().find(|it| !known.contains_key(it.as_str())) {
        return Err(Refusal::invalid_request(format!("Unknown client metrics configuration: {unknown}")));
    }
    let values = ClientMetricsSettings::read(all).map_err(|it| Refusal::invalid_config(it.to_string()))?;
    if !(100..=3_600_000).contains(&values.interval_ms) {
        return Err(Refusal::invalid_request(format!(
            "Invalid value {} for interval.ms, interval must be between 100 and 3600000 (1 hour)",
            values.interval_ms
        )));
    }
    for pattern in &values.match_patterns {
        let mut parts = pattern.split('=');
        let valid = match (parts.next(), parts.next(), parts.next()) {
            (Some(property), Some(expression), None) => {
                MATCHED_PROPERTIES.contains(&property.trim())
                    && regex_lite::Regex::new(expression.trim()).is_ok()
            }
            _ => false,
        };
        if !valid {
            return Err(Refusal::invalid_config(format!("Illegal client matching pattern: {pattern}")));
        }
    }
    Ok(())
}

/// Refuses steps that a running broker cannot take from the settings `before` to those `after`.
pub(super) fn check_step(
    before: &ServerSettings,
    before_texts: &Texts,
    after: &ServerSettings,
    after_texts: &Texts,
    listeners: &Listeners,
) -> Result<(), InvalidSetting> {
    check_thread_counts(before, after)?;
    let (ms, bytes) = (after.log.retention_ms(), after.log.log_retention_bytes);
    refuse_local("log.local.retention.ms", after.tiered.log_local_retention_ms, "log.retention.ms", ms)?;
    let local_bytes = after.tiered.log_local_retention_bytes;
    refuse_local("log.local.retention.bytes", local_bytes, "log.retention.bytes", bytes)?;
    // Kafka looks at listeners only when a key without a listener's prefix has changed.
    let differs = |name: &&str| before_texts.get(*name) != after_texts.get(*name);
    let mut keys = ResourceKind::Broker.settings().iter().filter(|(_, it)| concerns_listeners(it));
    match keys.any(|(name, _)| differs(name)) {
        true => {
            check_listeners(&Listeners::read(before, before_texts)?, before_texts, listeners, after_texts)
        }
        false => Ok(()),
    }
}

fn concerns_listeners(setting: &Setting) -> bool {
    let cluster_wide =
        matches!(setting.name, "max.connections" | "max.connection.creation.rate" | "num.network.threads");
    cluster_wide || setting.scope == Scope::PerBroker && setting.name != "cordoned.log.dirs"
}

/// Counts of workers change by at most a factor of two at once.
fn check_thread_counts(before: &ServerSettings, after: &ServerSettings) -> Result<(), InvalidSetting> {
    let counts = |it: &ServerSettings| {
        [
            ("num.io.threads", it.network.num_io_threads),
            ("num.replica.fetchers", it.replication.num_replica_fetchers),
            ("num.recovery.threads.per.data.dir", it.log.num_recovery_threads_per_data_dir),
            ("background.threads", it.general.background_threads),
            ("remote.log.reader.threads", it.tiered.remote_log_reader_threads),
            (
                "remote.log.manager.copier.thread.pool.size",
                it.tiered.remote_log_manager_copier_thread_pool_size,
            ),
            (
                "remote.log.manager.expiration.thread.pool.size",
                it.tiered.remote_log_manager_expiration_thread_pool_size,
            ),
            (
                "remote.log.manager.follower.thread.pool.size",
                it.tiered.remote_log_manager_follower_thread_pool_size,
            ),
        ]
    };
    for ((name, old), (_, new)) in counts(before).into_iter().zip(counts(after)) {
        let words = if new < old / 2 {
            format!("at least half the current value {old}")
        } else if i64::from(new) > i64::from(old) * 2 {
            format!("not be greater than double the current value {old}")
        } else {
            continue;
        };
        let verb = if new < old { "be " } else { "" };
        return Err(InvalidSetting::new(format!(
            "Dynamic thread count update validation failed for {name}={new}, value should {verb}{words}"
        )));
    }
    let (old, new) = (before.cleaner.log_cleaner_threads, after.cleaner.log_cleaner_threads);
    if new < old / 2 {
        return Err(InvalidSetting::new(format!(
            "Log cleaner threads cannot be reduced to less than half the current value {old}"
        )));
    }
    if i64::from(new) > i64::from(old) * 2 {
        return Err(InvalidSetting::new(format!(
            "Log cleaner threads cannot be increased to more than double the current value {old}"
        )));
    }
    Ok(())
}

/// Keys of a listener that can change while it is open.
fn is_reconfigurable(key: &str) -> bool {
    key == "ssl.key.password"
        || key.starts_with("ssl.keystore.")
        || key.starts_with("ssl.truststore.")
        || matches!(key, "max.connections" | "max.connection.creation.rate" | "num.network.threads")
}

fn check_listeners(
    before: &Listeners,
    before_texts: &Texts,
    after: &Listeners,
    after_texts: &Texts,
) -> Result<(), InvalidSetting> {
    let is_open = |name: &str| after.all().any(|it| it.name == name);
    if before.advertised_broker.iter().any(|it| !is_open(&it.name)) {
        let names = |it: &mut dyn Iterator<Item = String>| it.collect::<Vec<_>>().join(", ");
        return Err(InvalidSetting::new(format!(
            "Advertised listeners '{}' must be a subset of listeners '{}'",
            names(&mut before.advertised_broker.iter().map(|it| it.name.clone())),
            names(&mut after.all().map(|it| it.name.clone()))
        )));
    }
    for old in before.all() {
        let Some(new) = after.all().find(|it| it.name == old.name) else { continue };
        let prefix = format!("listener.name.{}.", old.name.to_lowercase());
        let fixed = |texts: &Texts| -> Texts {
            let own = texts.iter().filter(|(name, _)| name.starts_with(&prefix));
            let kept = own.filter(|(name, _)| !without_listener(name).is_some_and(is_reconfigurable));
            kept.map(|(name, text)| (name.clone(), text.clone())).collect()
        };
        if fixed(before_texts) != fixed(after_texts) {
            return Err(InvalidSetting::new(format!(
                "Configs cannot be updated dynamically for existing listener ListenerName({}), restart \
                 broker or create a new listener for update",
                old.name
            )));
        }
        if old.protocol != new.protocol {
            return Err(InvalidSetting::new(format!(
                "Security protocol cannot be updated for existing listener ListenerName({})",
                old.name
            )));
        }
    }
    Ok(())
}
