//! Settings of clients, under Kafka's names and with Kafka's defaults.
//!
//! A field is a setting; a map of texts (`--property linger.ms=20`, a properties file) becomes options through
//! [`Table::read`].

use ottla_base::settings;
use ottla_base::settings::Emptiness::MayBeEmpty;
use ottla_base::settings::{
    InvalidSetting, Setting, Table, Texts, Value, any, at_least, between, custom, honoured, list, one_of,
    one_of_any_case,
};
use ottla_record::{Compression, CompressionLevel};

settings! {
    /// How servers are found and talked to. Every client has these.
    pub struct ClusterOptions {
        /// The servers that are asked first, as `host:port` between commas.
        bootstrap_servers: Vec<String> = "bootstrap.servers", "localhost:9092", list(MayBeEmpty), HIGH, read_only,
            honoured();
        /// The name that requests carry.
        client_id: String = "client.id", "", any(), MEDIUM, read_only, honoured();
        /// How long a call may take, all of its retries included.
        default_api_timeout_ms: i32 = "default.api.timeout.ms", "60000", at_least(0), MEDIUM, read_only,
            honoured();
        /// How long one request may wait for its answer.
        request_timeout_ms: i32 = "request.timeout.ms", "30000", at_least(0), MEDIUM, read_only, honoured();
        /// How long connecting may take.
        socket_connection_setup_timeout_ms: i64 = "socket.connection.setup.timeout.ms", "10000", at_least(0),
            MEDIUM, read_only, honoured();
        /// How long connecting to a broker that failed before may take at most.
        socket_connection_setup_timeout_max_ms: i64 = "socket.connection.setup.timeout.max.ms", "30000",
            at_least(0), MEDIUM, read_only, honoured();
        /// The pause before a failed connection is tried again; it doubles with every failure.
        reconnect_backoff_ms: i64 = "reconnect.backoff.ms", "50", at_least(0), LOW, read_only, honoured();
        /// The longest such pause.
        reconnect_backoff_max_ms: i64 = "reconnect.backoff.max.ms", "1000", at_least(0), LOW, read_only,
            honoured();
        /// The pause before a refused request is tried again; it doubles with every refusal.
        retry_backoff_ms: i64 = "retry.backoff.ms", "100", at_least(0), LOW, read_only, honoured();
        /// The longest such pause.
        retry_backoff_max_ms: i64 = "retry.backoff.max.ms", "1000", at_least(0), LOW, read_only, honoured();
        /// The age at which what is known of topics and leaders is asked again.
        metadata_max_age_ms: i64 = "metadata.max.age.ms", "300000", at_least(0), LOW, read_only, honoured();
        /// How long a topic that nobody uses is remembered.
        metadata_max_idle_ms: i64 = "metadata.max.idle.ms", "300000", at_least(5000), LOW, read_only,
            honoured();
        /// What is done when no known broker can be reached: begin again with `bootstrap.servers`, or go on trying.
        metadata_recovery_strategy: String = "metadata.recovery.strategy", "rebootstrap",
            one_of_any_case(&["REBOOTSTRAP", "NONE"]), LOW, read_only, honoured();
        /// How long no broker may have answered before the client begins again with `bootstrap.servers`.
        metadata_recovery_rebootstrap_trigger_ms: i64 = "metadata.recovery.rebootstrap.trigger.ms", "300000",
            at_least(0), LOW, read_only, honoured();
        /// The size of a socket's send buffer; -1 leaves it to the kernel.
        send_buffer_bytes: i32 = "send.buffer.bytes", "131072", at_least(-1), MEDIUM, read_only, honoured();
        /// The size of a socket's receive buffer; -1 leaves it to the kernel.
        receive_buffer_bytes: i32 = "receive.buffer.bytes", "65536", at_least(-1), MEDIUM, read_only, honoured();
        /// How connections are protected.
        security_protocol: String = "security.protocol", "PLAINTEXT", one_of_any_case(&["PLAINTEXT"]), MEDIUM,
            read_only, honoured();
    }
}

settings! {
    /// How records are sent.
    pub struct ProducerOptions {
        /// Who must have a batch before it counts as delivered: `all` in-sync replicas, the leader alone (`1`), or
        /// nobody (`0`).
        acks: String = "acks", "all", one_of(&["all", "-1", "0", "1"]), LOW, read_only, honoured();
        /// The size at which a batch is full.
        batch_size: i32 = "batch.size", "16384", at_least(0), MEDIUM, read_only, honoured();
        /// How much memory records may take until they are delivered.
        buffer_memory: i64 = "buffer.memory", "33554432", at_least(0), HIGH, read_only, honoured();
        /// The effort of gzip: 1 is fastest, 9 smallest, -1 the library's choice.
        compression_gzip_level: i32 = "compression.gzip.level", "-1", GZIP_LEVEL, MEDIUM, read_only, honoured();
        /// The effort of lz4: 1 is fastest, 17 smallest.
        compression_lz4_level: i32 = "compression.lz4.level", "9", between(1, 17), MEDIUM, read_only, honoured();
        /// How batches are compressed.
        compression_type: String = "compression.type", "none",
            one_of(&["none", "gzip", "snappy", "lz4", "zstd"]), HIGH, read_only, honoured();
        /// The effort of zstd: low is fast, 22 smallest.
        compression_zstd_level: i32 = "compression.zstd.level", "3", between(-131_072, 22), MEDIUM, read_only,
            honoured();
        /// How long a record may take until it is delivered, all retries included.
        delivery_timeout_ms: i32 = "delivery.timeout.ms", "120000", at_least(0), MEDIUM, read_only, honoured();
        /// Whether every record is written once and in order, retries notwithstanding.
        enable_idempotence: bool = "enable.idempotence", "true", any(), LOW, read_only, honoured();
        /// How long a batch that is not full waits for more records.
        linger_ms: i64 = "linger.ms", "5", at_least(0), MEDIUM, read_only, honoured();
        /// How long sending may wait for memory and for metadata.
        max_block_ms: i64 = "max.block.ms", "60000", at_least(0), MEDIUM, read_only, honoured();
        /// How many requests may wait for their answers on one connection.
        max_in_flight_requests_per_connection: i32 = "max.in.flight.requests.per.connection", "5", at_least(1),
            LOW, read_only, honoured();
        /// The largest request, and so the largest record.
        max_request_size: i32 = "max.request.size", "1048576", at_least(0), MEDIUM, read_only, honoured();
        /// Whether records without a key prefer partitions with less waiting.
        partitioner_adaptive_partitioning_enable: bool = "partitioner.adaptive.partitioning.enable", "true",
            any(), LOW, read_only, honoured();
        /// Whether records are spread as if they had no key.
        partitioner_ignore_keys: bool = "partitioner.ignore.keys", "false", any(), MEDIUM, read_only, honoured();
        /// How often a batch is tried again.
        retries: i32 = "retries", "2147483647", at_least(0), HIGH, read_only, honoured();
        /// How long a transaction may be open before its coordinator aborts it.
        transaction_timeout_ms: i32 = "transaction.timeout.ms", "60000", at_least(1), LOW, read_only, honoured();
        /// The name under which transactions are made: of several producers with it, the newest fences the others.
        transactional_id: Option<String> = "transactional.id", null, any(), LOW, read_only, honoured();
    }
}

settings! {
    /// How records are fetched.
    pub struct FetcherOptions {
        /// Whether fetching from a topic that does not exist may create it.
        allow_auto_create_topics: bool = "allow.auto.create.topics", "true", any(), MEDIUM, read_only, honoured();
        /// Where to go on when the position is not in the log: `earliest`, `latest`, `none` (an error), or
        /// `by_duration:` and an ISO 8601 duration back from now.
        auto_offset_reset: String = "auto.offset.reset", "latest", OFFSET_RESET, MEDIUM, read_only, honoured();
        /// Whether checksums of batches are checked.
        check_crcs: bool = "check.crcs", "true", any(), LOW, read_only, honoured();
        /// Where this client is, so that it may read from a follower nearby.
        client_rack: String = "client.rack", "", any(), LOW, read_only, honoured();
        /// About how much one answer may have.
        fetch_max_bytes: i32 = "fetch.max.bytes", "52428800", at_least(0), MEDIUM, read_only, honoured();
        /// How long a broker waits for `fetch.min.bytes`.
        fetch_max_wait_ms: i32 = "fetch.max.wait.ms", "500", at_least(0), LOW, read_only, honoured();
        /// How much a broker waits for before it answers.
        fetch_min_bytes: i32 = "fetch.min.bytes", "1", at_least(0), HIGH, read_only, honoured();
        /// Whether records of transactions that are open or aborted are given out.
        isolation_level: String = "isolation.level", "read_uncommitted",
            one_of(&["read_committed", "read_uncommitted"]), MEDIUM, read_only, honoured();
        /// About how much of one partition an answer may have.
        max_partition_fetch_bytes: i32 = "max.partition.fetch.bytes", "1048576", at_least(0), HIGH, read_only,
            honoured();
    }
}

settings! {
    /// How a consumer shares partitions with the other members of its group, and keeps its place.
    pub struct ConsumerOptions {
        /// How often positions are committed by themselves.
        auto_commit_interval_ms: i32 = "auto.commit.interval.ms", "5000", at_least(0), LOW, read_only, honoured();
        /// Whether positions are committed by themselves.
        enable_auto_commit: bool = "enable.auto.commit", "true", any(), MEDIUM, read_only, honoured();
        /// Whether a pattern leaves out topics that the cluster keeps its own state in.
        exclude_internal_topics: bool = "exclude.internal.topics", "true", any(), MEDIUM, read_only, honoured();
        /// The group.
        group_id: Option<String> = "group.id", null, any(), HIGH, read_only, honoured();
        /// The name of this member, if it comes back as the same after a restart (static membership).
        group_instance_id: Option<String> = "group.instance.id", null, any(), MEDIUM, read_only, honoured();
        /// Who shares out partitions: the members (`classic`), or the server (`consumer`).
        group_protocol: String = "group.protocol", "classic", one_of_any_case(&["CLASSIC", "CONSUMER"]), HIGH,
            read_only, honoured();
        /// With `group.protocol=consumer`: which of the server's assignors; none leaves it to the server.
        group_remote_assignor: Option<String> = "group.remote.assignor", null, any(), MEDIUM, read_only,
            honoured();
        /// With `group.protocol=classic`: how often the coordinator hears from this member.
        heartbeat_interval_ms: i32 = "heartbeat.interval.ms", "3000", at_least(1), HIGH, read_only, honoured();
        /// How long a member may take between two calls of `poll`; one that takes longer leaves the group.
        max_poll_interval_ms: i32 = "max.poll.interval.ms", "300000", at_least(1), MEDIUM, read_only, honoured();
        /// With `group.protocol=classic`: how partitions are shared out, by preference: `range`, `roundrobin`,
        /// `sticky`, `cooperative-sticky`, or the names of Kafka's classes.
        partition_assignment_strategy: Vec<String> = "partition.assignment.strategy", "range,cooperative-sticky",
            list(MayBeEmpty), MEDIUM, read_only, honoured();
        /// With `group.protocol=classic`: after how long without a heartbeat a member counts as gone.
        session_timeout_ms: i32 = "session.timeout.ms", "45000", at_least(1), HIGH, read_only, honoured();
    }
}

settings! {
    /// How a member of a share group takes records and acknowledges them.
    pub struct ShareOptions {
        /// Where this client is.
        client_rack: String = "client.rack", "", any(), LOW, read_only, honoured();
        /// About how much one answer may have.
        fetch_max_bytes: i32 = "fetch.max.bytes", "52428800", at_least(0), MEDIUM, read_only, honoured();
        /// How long a broker waits for `fetch.min.bytes`.
        fetch_max_wait_ms: i32 = "fetch.max.wait.ms", "500", at_least(0), LOW, read_only, honoured();
        /// How much a broker waits for before it answers.
        fetch_min_bytes: i32 = "fetch.min.bytes", "1", at_least(0), HIGH, read_only, honoured();
        /// The group.
        group_id: Option<String> = "group.id", null, any(), HIGH, read_only, honoured();
        /// About how many records an answer may have; a batch is never cut, except with `share.acquire.mode=record_limit`.
        max_poll_records: i32 = "max.poll.records", "500", at_least(1), MEDIUM, read_only, honoured();
        /// Whether the records of a poll count as accepted at the next (`implicit`), or each has to be acknowledged
        /// (`explicit`).
        share_acknowledgement_mode: String = "share.acknowledgement.mode", "implicit",
            one_of_any_case(&["IMPLICIT", "EXPLICIT"]), MEDIUM, read_only, honoured();
        /// Whether an answer has whole batches (`batch_optimized`) or no more than `max.poll.records`
        /// (`record_limit`).
        share_acquire_mode: String = "share.acquire.mode", "batch_optimized",
            one_of_any_case(&["BATCH_OPTIMIZED", "RECORD_LIMIT"]), MEDIUM, read_only, honoured();
    }
}

const GZIP_LEVEL: ottla_base::settings::Check = custom(refuse_gzip_level, "[1,...,9] or -1");
const OFFSET_RESET: ottla_base::settings::Check =
    custom(refuse_offset_reset, "[latest, earliest, none, by_duration:PnDTnHnMn.nS]");

impl Default for ClusterOptions {
    fn default() -> Self {
        ClusterOptions::read(&Texts::new()).expect("defaults are accepted")
    }
}

impl Default for ProducerOptions {
    fn default() -> Self {
        ProducerOptions::read(&Texts::new()).expect("defaults are accepted")
    }
}

impl Default for FetcherOptions {
    fn default() -> Self {
        FetcherOptions::read(&Texts::new()).expect("defaults are accepted")
    }
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        ConsumerOptions::read(&Texts::new()).expect("defaults are accepted")
    }
}

impl Default for ShareOptions {
    fn default() -> Self {
        ShareOptions::read(&Texts::new()).expect("defaults are accepted")
    }
}

impl ConsumerOptions {
    /// The default options in a group.
    pub fn group(id: &str) -> ConsumerOptions {
        ConsumerOptions { group_id: Some(id.to_owned()), ..ConsumerOptions::default() }
    }

    /// Whether the server shares out partitions.
    pub(crate) fn uses_consumer_protocol(&self) -> bool {
        self.group_protocol.eq_ignore_ascii_case("consumer")
    }

    /// Refuses options that contradict each other, as Kafka's consumer does.
    pub(crate) fn check(&self) -> Result<(), InvalidSetting> {
        if self.group_id.as_ref().is_some_and(String::is_empty) {
            return Err(InvalidSetting::new(
                "The configured group.id should not be an empty string or whitespace.",
            ));
        }
        if !self.uses_consumer_protocol() && self.heartbeat_interval_ms >= self.session_timeout_ms {
            return Err(InvalidSetting::new("Heartbeat must be set lower than the session timeout"));
        }
        if self.partition_assignment_strategy.is_empty() && !self.uses_consumer_protocol() {
            return Err(InvalidSetting::new("partition.assignment.strategy must not be empty"));
        }
        Ok(())
    }
}

impl ShareOptions {
    /// The default options in a group.
    pub fn group(id: &str) -> ShareOptions {
        ShareOptions { group_id: Some(id.to_owned()), ..ShareOptions::default() }
    }
}

impl ClusterOptions {
    /// The default options with these bootstrap servers (`host:port` between commas).
    pub fn bootstrap(servers: &str) -> ClusterOptions {
        let bootstrap_servers = servers.split(',').map(|it| it.trim().to_owned()).collect();
        ClusterOptions { bootstrap_servers, ..ClusterOptions::default() }
    }
}

impl ProducerOptions {
    /// The number of `acks` in a request.
    pub(crate) fn acks_number(&self) -> i16 {
        match self.acks.as_str() {
            "0" => 0,
            "1" => 1,
            _ => -1,
        }
    }

    /// How batches are compressed, and how hard.
    pub(crate) fn compression(&self) -> CompressionLevel {
        let compression = Compression::from_name(&self.compression_type).unwrap_or_default();
        let level = match compression {
            Compression::Gzip => self.compression_gzip_level,
            Compression::Lz4 => self.compression_lz4_level,
            Compression::Zstd => self.compression_zstd_level,
            Compression::None | Compression::Snappy => 0,
        };
        CompressionLevel { compression, level }
    }

    /// Refuses options that contradict each other, as Kafka's producer does.
    pub(crate) fn check(&self) -> Result<(), InvalidSetting> {
        if self.transactional_id.as_ref().is_some_and(String::is_empty) {
            return Err(InvalidSetting::new("String must be non-empty (transactional.id)"));
        }
        if self.transactional_id.is_some() && !self.enable_idempotence {
            return Err(InvalidSetting::new(
                "Cannot set a transactional.id without also enabling idempotence.",
            ));
        }
        if self.enable_idempotence && self.acks_number() != -1 {
            return Err(InvalidSetting::new(
                "Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee \
                 idempotence. Set enable.idempotence=false to use other acks.",
            ));
        }
        if self.enable_idempotence && self.max_in_flight_requests_per_connection > MAX_IN_FLIGHT_IDEMPOTENT {
            return Err(InvalidSetting::new(
                "Must set max.in.flight.requests.per.connection to at most 5 to use the idempotent producer.",
            ));
        }
        if self.enable_idempotence && self.retries == 0 {
            return Err(InvalidSetting::new(
                "Must set retries to non-zero when using the idempotent producer.",
            ));
        }
        Ok(())
    }
}

/// A broker remembers so many batches of a producer and knows them again.
const MAX_IN_FLIGHT_IDEMPOTENT: i32 = 5;

/// Which keys of `texts` no table in `tables` knows, to be told to whoever set them.
pub fn unknown_keys<'a>(texts: &'a Texts, tables: &[&[Setting]]) -> Vec<&'a str> {
    let known = |key: &str| tables.iter().any(|table| table.iter().any(|it| it.name == key));
    texts.keys().map(String::as_str).filter(|key| !known(key)).collect()
}

/// Takes `key=value` apart, as `--property` has it.
pub fn parse_assignment(text: &str) -> Result<(String, String), InvalidSetting> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(InvalidSetting::new(format!("\"{text}\" is not of the form key=value")));
    };
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

fn refuse_gzip_level(name: &str, value: Option<&Value>) -> Result<(), InvalidSetting> {
    match value {
        Some(Value::Int(level)) if !Compression::Gzip.has_level(*level) => {
            Err(InvalidSetting::value(name, level, "Value must be between 1 and 9 or equal to -1"))
        }
        _ => Ok(()),
    }
}

fn refuse_offset_reset(name: &str, value: Option<&Value>) -> Result<(), InvalidSetting> {
    match value {
        Some(Value::String(text)) if OffsetReset::parse(text).is_none() => Err(InvalidSetting::value(
            name,
            text,
            "Valid values are latest, earliest, none, by_duration:PnDTnHnMn.nS",
        )),
        _ => Ok(()),
    }
}

/// Where to go on when a position is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OffsetReset {
    /// At the first offset.
    Earliest,
    /// At the end.
    Latest,
    /// Nowhere: that is an error.
    Never,
    /// At the first record not older than this.
    ByDuration(std::time::Duration),
}

impl OffsetReset {
    pub(crate) fn parse(text: &str) -> Option<OffsetReset> {
        match text {
            "earliest" => Some(OffsetReset::Earliest),
            "latest" => Some(OffsetReset::Latest),
            "none" => Some(OffsetReset::Never),
            _ => parse_duration(text.strip_prefix("by_duration:")?).map(OffsetReset::ByDuration),
        }
    }
}

/// `PnDTnHnMn.nS`, not negative.
pub fn parse_duration(text: &str) -> Option<std::time::Duration> {
    let text = text.strip_prefix('P')?;
    let (days, time) = match text.split_once('T') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (text, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut seconds = 0.0f64;
    if !days.is_empty() {
        seconds += days.strip_suffix('D')?.parse::<u32>().ok().map(f64::from)? * 86_400.0;
    }
    let mut rest = time;
    for (unit, length) in [('H', 3600.0), ('M', 60.0), ('S', 1.0)] {
        if let Some((number, after)) = rest.split_once(unit) {
            let plain = number.bytes().all(|it| it.is_ascii_digit() || it == b'.' && unit == 'S');
            seconds += if plain { number.parse::<f64>().ok()? } else { return None } * length;
            rest = after;
        }
    }
    if !rest.is_empty() {
        return None;
    }
    std::time::Duration::try_from_secs_f64(seconds).ok()
}
