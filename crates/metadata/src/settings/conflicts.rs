//! Values of a server that exclude each other, after `KafkaConfig.validateValues` and the coordinators'
//! settings.

use ottla_base::settings::{InvalidSetting, Setting, Texts};

use super::checks::parse_voter;
use super::layers::declaration;
use super::listeners::Listeners;
use super::resources::refuse_local;
use super::{ServerSettings, listeners};

/// What a server found in its settings beyond their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Its addresses.
    pub listeners: Listeners,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// Refuses values that exclude each other; `effective` holds the texts that `server` was read from.
pub fn check(server: &ServerSettings, effective: &Texts) -> Result<Findings, InvalidSetting> {
    check_bounds(effective)?;
    check_groups(server)?;
    let listeners = Listeners::read(server, effective)?;
    if server.quorum.node_id != server.quorum.broker_id {
        return Err(InvalidSetting::new(
            "`node.id` and `broker.id` must be set to the same value. `broker.id` is deprecated, please use \
             `node.id` instead.",
        ));
    }
    check_logs(server)?;
    check_tiered(server)?;
    check_replication(server)?;
    check_roles(server, effective, &listeners)?;
    if has_role(server, "broker") {
        check_broker(server, &listeners)?;
    }
    for endpoint in listeners.advertised_broker.iter().chain(&listeners.advertised_controller) {
        require(
            endpoint.host.as_deref() != Some("0.0.0.0"),
            "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP \
             address.",
        )?;
    }
    check_network(server, effective, &listeners)?;
    let warnings = warnings(server);
    Ok(Findings { listeners, warnings })
}

/// Whether the server has a role.
pub fn has_role(server: &ServerSettings, role: &str) -> bool {
    server.quorum.process_roles.iter().any(|it| it == role)
}

fn require(holds: bool, otherwise: &str) -> Result<(), InvalidSetting> {
    if holds { Ok(()) } else { Err(InvalidSetting::new(format!("requirement failed: {otherwise}"))) }
}

fn check_logs(server: &ServerSettings) -> Result<(), InvalidSetting> {
    require(server.log.roll_ms() >= 1, "log.roll.ms must be greater than or equal to 1")?;
    require(server.log.roll_jitter_ms() >= 0, "log.roll.jitter.ms must be greater than or equal to 0")?;
    require(
        server.log.retention_ms() >= 1 || server.log.retention_ms() == -1,
        "log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
    )?;
    require(
        !server.log_directories().is_empty(),
        "At least one log directory must be defined via log.dirs or log.dir.",
    )?;
    let threads = i64::from(server.cleaner.log_cleaner_threads);
    require(threads >= 1, "log.cleaner.threads must be at least 1")?;
    require(
        server.cleaner.log_cleaner_dedupe_buffer_size / threads > 1024 * 1024,
        "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
    )
}

/// What topics have when they say nothing themselves (`LogConfig.validateBrokerLogConfigValues`).
fn check_tiered(server: &ServerSettings) -> Result<(), InvalidSetting> {
    if !server.tiered.remote_log_storage_system_enable {
        return Ok(());
    }
    let (local, log) = (&server.tiered, &server.log);
    let bytes = log.log_retention_bytes;
    refuse_local("local.retention.bytes", local.log_local_retention_bytes, "retention.bytes", bytes)?;
    refuse_local("local.retention.ms", local.log_local_retention_ms, "retention.ms", log.retention_ms())
}

fn check_groups(server: &ServerSettings) -> Result<(), InvalidSetting> {
    let assignors = server.share_groups.group_share_assignors.len();
    if assignors != 1 {
        return Err(InvalidSetting::new(format!(
            "group.share.assignors must contain exactly one assignor, but found {assignors}"
        )));
    }
    let protocols = &server.groups.group_coordinator_rebalance_protocols;
    if !protocols.iter().any(|it| it == "classic") {
        return Err(InvalidSetting::new("Disabling the 'Classic' protocol is not supported."));
    }
    Ok(())
}

fn check_replication(server: &ServerSettings) -> Result<(), InvalidSetting> {
    let replication = &server.replication;
    require(
        replication.replica_fetch_wait_max_ms <= replication.replica_socket_timeout_ms,
        "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent \
         unnecessary socket timeouts",
    )?;
    require(
        i64::from(replication.replica_fetch_wait_max_ms) <= replication.replica_lag_time_max_ms,
        "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent \
         frequent changes in ISR",
    )
}

fn check_roles(
    server: &ServerSettings,
    effective: &Texts,
    listeners: &Listeners,
) -> Result<(), InvalidSetting> {
    let voters =
        server.quorum.controller_quorum_voters.iter().map(|it| parse_voter(it).map(|voter| voter.id));
    let voters: Vec<i32> = voters.collect::<Result<_, _>>()?;
    if voters.is_empty() && server.quorum.controller_quorum_bootstrap_servers.is_empty() {
        return Err(InvalidSetting::new(
            "If using process.roles, either controller.quorum.bootstrap.servers must contain the set of \
             bootstrap controllers or controller.quorum.voters must contain a parseable set of controllers.",
        ));
    }
    let id = server.quorum.node_id;
    let set = || format!("controller.quorum.voters=Set({})", join(voters.iter()));
    if !has_role(server, "controller") {
        require(
            !voters.contains(&id),
            &format!(
                "If process.roles contains just the 'broker' role, the node id {id} must not be included in \
                 the set of voters {}",
                set()
            ),
        )?;
        return check_broker_alone(server, listeners);
    }
    if !has_role(server, "broker") {
        require(
            listeners.broker.is_empty(),
            "The listeners config must only contain KRaft controller listeners from \
             controller.listener.names when process.roles=controller",
        )?;
        let names = &listeners.controller_names;
        require(
            !effective.contains_key("inter.broker.listener.name")
                || !names.contains(&listeners.between_brokers),
            "controller.listener.names must not contain an explicitly set inter.broker.listener.name \
             configuration value when process.roles=controller'",
        )?;
    }
    require(
        voters.is_empty() || voters.contains(&id),
        &format!(
            "If process.roles contains the 'controller' role, the node id {id} must be included in the set \
             of voters {}",
            set()
        ),
    )?;
    require(
        !listeners.advertised_controller.is_empty(),
        "controller.listener.names must contain at least one value appearing in the 'listeners' \
         configuration when running the KRaft controller role",
    )?;
    require(
        listeners.controller_names.iter().all(|name| listeners.controller.iter().any(|it| it.name == *name)),
        "controller.listener.names must only contain values appearing in the 'listeners' configuration when \
         running the KRaft controller role",
    )
}

fn check_broker_alone(server: &ServerSettings, listeners: &Listeners) -> Result<(), InvalidSetting> {
    require(
        listeners.controller.is_empty(),
        "controller.listener.names must not contain a value appearing in the 'listeners' configuration when \
         running KRaft with just the broker role",
    )?;
    for name in &listeners.controller_names {
        if !listeners.protocols.contains_key(&name.to_uppercase()) {
            return Err(InvalidSetting::new(format!(
                "Controller listener with name {} defined in controller.listener.names not found in \
                 listener.security.protocol.map  (an explicit security mapping for each controller listener \
                 is required if listener.security.protocol.map is non-empty, or if there are security \
                 protocols other than PLAINTEXT in use)",
                name.to_uppercase()
            )));
        }
    }
    require(
        !server.quorum.controller_quorum_auto_join_enable,
        "controller.quorum.auto.join.enable is only supported when process.roles contains the 'controller' \
         role.",
    )
}

fn check_broker(server: &ServerSettings, listeners: &Listeners) -> Result<(), InvalidSetting> {
    let advertised: Vec<&str> = listeners.advertised_broker.iter().map(|it| it.name.as_str()).collect();
    require(
        !advertised.is_empty(),
        "There must be at least one broker advertised listener. Perhaps all listeners appear in \
         controller.listener.names?",
    )?;
    require(
        advertised.contains(&listeners.between_brokers.as_str()),
        &format!(
            "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid \
             options based on currently configured listeners are {}",
            advertised.join(",")
        ),
    )?;
    let names: Vec<&str> = listeners.all().map(|it| it.name.as_str()).collect();
    require(
        advertised.iter().all(|it| names.contains(it)),
        &format!(
            "advertised.listeners listener names must be equal to or a subset of the ones defined in \
             listeners. Found {}. The valid options based on the current configuration are {}",
            advertised.join(","),
            names.join(",")
        ),
    )?;
    let cordoned = &server.log.cordoned_log_dirs;
    if cordoned.iter().any(|it| it == "*") {
        return require(
            cordoned.len() == 1,
            "When cordoned.log.dirs is set to *, it must not contain other values",
        );
    }
    let missing = join(cordoned.iter().filter(|it| !server.log_directories().contains(it)));
    require(
        missing.is_empty(),
        &format!(
            "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : \
             {missing}"
        ),
    )
}

fn check_network(
    server: &ServerSettings,
    effective: &Texts,
    listeners: &Listeners,
) -> Result<(), InvalidSetting> {
    let network = &server.network;
    let between = &listeners.between_brokers;
    let uses_sasl = listeners.protocols.get(between).is_some_and(|it| it.name().starts_with("SASL"));
    let own = super::layers::for_listener(effective, between);
    let offered = declaration("sasl.enabled.mechanisms").map(|it| it.read(&own)).transpose()?.flatten();
    let mechanism = &server.sasl.sasl_mechanism_inter_broker_protocol;
    let is_offered =
        offered.and_then(|it| it.as_list().map(|them| them.contains(mechanism))).unwrap_or(false);
    require(
        !uses_sasl || is_offered,
        "sasl.mechanism.inter.broker.protocol must be included in sasl.enabled.mechanisms when SASL is used \
         for inter-broker communication",
    )?;
    require(
        network.queued_max_request_bytes <= 0
            || network.queued_max_request_bytes >= i64::from(network.socket_request_max_bytes),
        "queued.max.request.bytes must be larger or equal to socket.request.max.bytes",
    )?;
    let overrides = connections_per_address(server)?;
    require(
        network.max_connections_per_ip != 0 || !overrides.is_empty(),
        "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.",
    )?;
    let delay = i64::from(server.tls.connection_failed_authentication_delay_ms);
    let idle = network.connections_max_idle_ms;
    require(
        idle < 0 || delay < idle,
        &format!(
            "connection.failed.authentication.delay.ms={delay} should always be less than \
             connections.max.idle.ms={idle} to prevent failed authentication responses from timing out"
        ),
    )
}

/// `max.connections.per.ip.overrides`: hosts and their limits.
pub fn connections_per_address(server: &ServerSettings) -> Result<Vec<(String, i32)>, InvalidSetting> {
    const NAME: &str = "max.connections.per.ip.overrides";
    let mut limits = Vec::new();
    for (host, limit) in listeners::pairs(NAME, &server.network.max_connections_per_ip_overrides)? {
        let limit =
            limit.parse().map_err(|_| InvalidSetting::new(format!("For input string: \"{limit}\"")))?;
        limits.push((host.to_owned(), limit));
    }
    let host_ok = |it: char| it.is_ascii_alphanumeric() || "-.%_:".contains(it);
    let invalid = join(limits.iter().map(|(host, _)| host).filter(|it| !it.chars().all(host_ok)));
    match invalid.is_empty() {
        true => Ok(limits),
        false => Err(InvalidSetting::new(format!("{NAME} contains invalid addresses : {invalid}"))),
    }
}

fn join(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|it| it.to_string()).collect::<Vec<_>>().join(", ")
}

/// A key, the word that must stand between, and the other key.
const BOUNDS: [(&str, Bound, &str); 39] = {
    use Bound::{AtLeast, AtMost, Below};
    [
        ("group.consumer.max.heartbeat.interval.ms", AtLeast, "group.consumer.min.heartbeat.interval.ms"),
        ("group.consumer.heartbeat.interval.ms", AtLeast, "group.consumer.min.heartbeat.interval.ms"),
        ("group.consumer.heartbeat.interval.ms", AtMost, "group.consumer.max.heartbeat.interval.ms"),
        ("group.consumer.max.session.timeout.ms", AtLeast, "group.consumer.min.session.timeout.ms"),
        ("group.consumer.session.timeout.ms", AtLeast, "group.consumer.min.session.timeout.ms"),
        ("group.consumer.session.timeout.ms", AtMost, "group.consumer.max.session.timeout.ms"),
        ("group.consumer.heartbeat.interval.ms", Below, "group.consumer.session.timeout.ms"),
        ("group.consumer.max.assignment.interval.ms", AtLeast, "group.consumer.min.assignment.interval.ms"),
        ("group.consumer.assignment.interval.ms", AtLeast, "group.consumer.min.assignment.interval.ms"),
        ("group.consumer.assignment.interval.ms", AtMost, "group.consumer.max.assignment.interval.ms"),
        ("group.share.max.heartbeat.interval.ms", AtLeast, "group.share.min.heartbeat.interval.ms"),
        ("group.share.heartbeat.interval.ms", AtLeast, "group.share.min.heartbeat.interval.ms"),
        ("group.share.heartbeat.interval.ms", AtMost, "group.share.max.heartbeat.interval.ms"),
        ("group.share.max.session.timeout.ms", AtLeast, "group.share.min.session.timeout.ms"),
        ("group.share.session.timeout.ms", AtLeast, "group.share.min.session.timeout.ms"),
        ("group.share.session.timeout.ms", AtMost, "group.share.max.session.timeout.ms"),
        ("group.share.heartbeat.interval.ms", Below, "group.share.session.timeout.ms"),
        ("group.share.max.assignment.interval.ms", AtLeast, "group.share.min.assignment.interval.ms"),
        ("group.share.assignment.interval.ms", AtLeast, "group.share.min.assignment.interval.ms"),
        ("group.share.assignment.interval.ms", AtMost, "group.share.max.assignment.interval.ms"),
        ("group.streams.max.heartbeat.interval.ms", AtLeast, "group.streams.min.heartbeat.interval.ms"),
        ("group.streams.heartbeat.interval.ms", AtLeast, "group.streams.min.heartbeat.interval.ms"),
        ("group.streams.heartbeat.interval.ms", AtMost, "group.streams.max.heartbeat.interval.ms"),
        ("group.streams.max.session.timeout.ms", AtLeast, "group.streams.min.session.timeout.ms"),
        ("group.streams.session.timeout.ms", AtLeast, "group.streams.min.session.timeout.ms"),
        ("group.streams.session.timeout.ms", AtMost, "group.streams.max.session.timeout.ms"),
        ("group.streams.heartbeat.interval.ms", Below, "group.streams.session.timeout.ms"),
        ("group.streams.max.assignment.interval.ms", AtLeast, "group.streams.min.assignment.interval.ms"),
        ("group.streams.assignment.interval.ms", AtLeast, "group.streams.min.assignment.interval.ms"),
        ("group.streams.assignment.interval.ms", AtMost, "group.streams.max.assignment.interval.ms"),
        ("group.streams.num.standby.replicas", AtMost, "group.streams.max.standby.replicas"),
        ("group.streams.num.warmup.replicas", AtMost, "group.streams.max.warmup.replicas"),
        ("group.streams.task.offset.interval.ms", AtLeast, "group.streams.min.task.offset.interval.ms"),
        ("group.share.max.delivery.count.limit", AtLeast, "group.share.delivery.count.limit"),
        ("group.share.delivery.count.limit", AtLeast, "group.share.min.delivery.count.limit"),
        ("group.share.max.partition.max.record.locks", AtLeast, "group.share.partition.max.record.locks"),
        ("group.share.partition.max.record.locks", AtLeast, "group.share.min.partition.max.record.locks"),
        ("group.share.record.lock.duration.ms", AtLeast, "group.share.min.record.lock.duration.ms"),
        ("group.share.max.record.lock.duration.ms", AtLeast, "group.share.record.lock.duration.ms"),
    ]
};

#[derive(Clone, Copy)]
enum Bound {
    AtLeast,
    AtMost,
    Below,
}

/// The bounds that coordinators' settings set each other.
fn check_bounds(effective: &Texts) -> Result<(), InvalidSetting> {
    let number = |name: &str| -> Result<f64, InvalidSetting> {
        let value = declaration(name).map(|it: &Setting| it.read(effective)).transpose()?.flatten();
        Ok(value.and_then(|it| it.as_number()).unwrap_or_default())
    };
    for (name, bound, other) in BOUNDS {
        let (value, limit) = (number(name)?, number(other)?);
        let (holds, words) = match bound {
            Bound::AtLeast => (value >= limit, "greater than or equal to"),
            Bound::AtMost => (value <= limit, "less than or equal to"),
            Bound::Below => (value < limit, "less than"),
        };
        if !holds {
            return Err(InvalidSetting::new(format!("{name} must be {words} {other}")));
        }
    }
    if number("group.share.max.share.sessions")? < number("group.share.max.size")? {
        let message = "group.share.max.share.sessions must be greater than or equal to group.share.max.size";
        return Err(InvalidSetting::new(message));
    }
    Ok(())
}

fn warnings(server: &ServerSettings) -> Vec<String> {
    let mut warnings = Vec::new();
    let heartbeat = i64::from(server.quorum.broker_heartbeat_interval_ms);
    let session = i64::from(server.quorum.broker_session_timeout_ms);
    if heartbeat * 2 > session {
        warnings.push(format!(
            "broker.heartbeat.interval.ms ({heartbeat}) should be at most half of broker.session.timeout.ms \
             ({session}), or one lost heartbeat fences the broker"
        ));
    }
    warnings
}
