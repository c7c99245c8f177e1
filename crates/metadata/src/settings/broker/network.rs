//! Settings of a server: listeners, connections and requests.

use ottla_base::settings;
use ottla_base::settings::Emptiness::{MayBeEmpty, NeverEmpty};
use ottla_base::settings::{any, at_least, honoured, later, list, never, one_of};

use crate::settings::effects::{EARLY, REPLICATION, THREADS};

settings! {
    /// Listeners, connections and requests.
    pub struct NetworkSettings {
        /// The addresses that clients are told to connect to; without it they are told `listeners`.
        advertised_listeners: Option<Vec<String>> = "advertised.listeners", null, list(NeverEmpty), HIGH,
            read_only, honoured();
        /// How long a connection may be silent before it is closed; negative means for ever.
        connections_max_idle_ms: i64 = "connections.max.idle.ms", "600000", any(), MEDIUM, read_only,
            honoured();
        /// Which listeners belong to controllers; the first is the one brokers use.
        controller_listener_names: Vec<String> = "controller.listener.names", required, list(NeverEmpty),
            HIGH, read_only, honoured();
        /// Listeners that open before the metadata has been loaded; without it those of the controllers.
        early_start_listeners: Option<Vec<String>> = "early.start.listeners", null, list(MayBeEmpty), HIGH,
            read_only, never(EARLY);
        /// The most bytes one fetch answer holds, whatever the client asks for.
        fetch_max_bytes: i32 = "fetch.max.bytes", "57671680", at_least(1024), MEDIUM, read_only, honoured();
        /// The listener that brokers use among themselves; excludes `security.inter.broker.protocol`.
        inter_broker_listener_name: Option<String> = "inter.broker.listener.name", null, any(), MEDIUM,
            read_only, honoured();
        /// The security protocol of each listener, as `NAME:PROTOCOL` between commas.
        listener_security_protocol_map: String = "listener.security.protocol.map",
            "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", any(), LOW,
            per_broker, honoured();
        /// The addresses to listen on, as `NAME://host:port` between commas; an empty host means every
        /// interface.
        listeners: Vec<String> = "listeners", "PLAINTEXT://:9092", list(NeverEmpty), HIGH, per_broker,
            honoured();
        /// The most new connections a second; also for one listener with its prefix.
        max_connection_creation_rate: i32 = "max.connection.creation.rate", "2147483647", at_least(0), MEDIUM,
            cluster_wide, honoured();
        /// The most connections at once; also for one listener with its prefix.
        max_connections: i32 = "max.connections", "2147483647", at_least(0), MEDIUM, cluster_wide, honoured();
        /// The most connections at once from one address.
        max_connections_per_ip: i32 = "max.connections.per.ip", "2147483647", at_least(0), MEDIUM,
            cluster_wide, honoured();
        /// Other limits for some addresses, as `host:number` between commas.
        max_connections_per_ip_overrides: String = "max.connections.per.ip.overrides", "", any(), MEDIUM,
            cluster_wide, honoured();
        /// How many incremental fetch sessions are kept.
        max_incremental_fetch_session_cache_slots: i32 = "max.incremental.fetch.session.cache.slots", "1000",
            at_least(0), MEDIUM, read_only, honoured();
        /// The most partitions one DescribeTopicPartitions answer holds.
        max_request_partition_size_limit: i32 = "max.request.partition.size.limit", "2000", at_least(1),
            MEDIUM, read_only, honoured();
        /// How many threads Kafka gives to requests.
        num_io_threads: i32 = "num.io.threads", "8", at_least(1), HIGH, cluster_wide, never(THREADS);
        /// How many threads Kafka gives to the connections of each listener.
        num_network_threads: i32 = "num.network.threads", "3", at_least(1), HIGH, cluster_wide,
            never(THREADS);
        /// How many bytes of requests may be in memory before reading pauses; -1 leaves it to Ottla's own
        /// bound.
        queued_max_request_bytes: i64 = "queued.max.request.bytes", "-1", any(), MEDIUM, read_only,
            honoured();
        /// How many requests may queue before Kafka's network threads pause.
        queued_max_requests: i32 = "queued.max.requests", "500", at_least(1), HIGH, read_only, never(THREADS);
        /// How long a request of the broker itself may take, and the answer to what the transaction coordinator writes.
        request_timeout_ms: i32 = "request.timeout.ms", "30000", any(), HIGH, read_only, honoured();
        /// The security protocol among brokers, when no listener is named for it.
        security_inter_broker_protocol: String = "security.inter.broker.protocol", "PLAINTEXT",
            one_of(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), MEDIUM, read_only, honoured();
        /// The longest a connection to another node may take to open, after repeated failures.
        socket_connection_setup_timeout_max_ms: i64 = "socket.connection.setup.timeout.max.ms", "30000",
            any(), MEDIUM, read_only, later(REPLICATION);
        /// How long a connection to another node may take to open.
        socket_connection_setup_timeout_ms: i64 = "socket.connection.setup.timeout.ms", "10000", any(),
            MEDIUM, read_only, later(REPLICATION);
        /// How many connections the system queues until they are accepted.
        socket_listen_backlog_size: i32 = "socket.listen.backlog.size", "50", at_least(1), MEDIUM, read_only,
            honoured();
        /// The receive buffer of connections; -1 leaves it to the system, and 102400 stands for 512 KiB.
        socket_receive_buffer_bytes: i32 = "socket.receive.buffer.bytes", "102400", any(), HIGH, read_only,
            honoured();
        /// The largest request that is taken.
        socket_request_max_bytes: i32 = "socket.request.max.bytes", "104857600", at_least(1), HIGH, read_only,
            honoured();
        /// The send buffer of connections; -1 leaves it to the system, and 102400 stands for 512 KiB.
        socket_send_buffer_bytes: i32 = "socket.send.buffer.bytes", "102400", any(), HIGH, read_only,
            honoured();
    }
}
