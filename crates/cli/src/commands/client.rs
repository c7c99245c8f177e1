//! What every command that talks to a cluster has in common: where it is, and what its errors mean.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ottla_base::ErrorCode;
use ottla_base::settings::{Setting, Table, Texts, parse_properties};
use ottla_client::admin::{Admin, Items};
use ottla_client::{
    Cluster, ClusterOptions, ConsumerOptions, Error, FetcherOptions, ProducerOptions, ShareOptions,
    unknown_keys,
};
use ottla_host::Host;

use crate::failure::{Failure, Outcome};
use crate::output;

/// The longest file of settings.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The server of `ottla start` without settings.
const DEFAULT_SERVER: &str = "localhost:9092";

/// Where the cluster is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClientArguments {
    /// The servers to begin with, separated by commas [default: localhost:9092]
    #[arg(
        short = 'b',
        long,
        global = true,
        visible_alias = "broker-list",
        value_name = "HOST:PORT",
        env = "OTTLA_BOOTSTRAP_SERVER",
        hide_env_values = true
    )]
    pub(crate) bootstrap_server: Option<String>,
    /// Settings of the client, such as request.timeout.ms, in a properties file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) command_config: Option<PathBuf>,
    /// How long a call may take, all of its attempts included; a minute if not given
    #[arg(long, global = true, value_name = "MS")]
    pub(crate) call_timeout_ms: Option<u64>,
}

impl ClientArguments {
    /// The settings of the file and of `properties`, the servers among them.
    pub(crate) fn texts(&self, host: &Host, properties: &[String]) -> Outcome<Texts> {
        let mut texts = match &self.command_config {
            None => Texts::new(),
            Some(path) => {
                let unreadable = |error: &dyn std::fmt::Display| {
                    Failure::new(format!("--command-config {}: {error}", path.display()))
                };
                let bytes = host.disk().read(path, MAX_FILE_BYTES).map_err(|error| unreadable(&error))?;
                parse_properties(&bytes).map_err(|error| unreadable(&error))?
            }
        };
        for property in properties {
            let (key, value) = ottla_client::parse_assignment(property).map_err(Failure::misuse)?;
            texts.insert(key, value);
        }
        if let Some(servers) = &self.bootstrap_server {
            texts.insert("bootstrap.servers".to_owned(), servers.clone());
        }
        texts.entry("bootstrap.servers".to_owned()).or_insert_with(|| DEFAULT_SERVER.to_owned());
        if let Some(timeout) = self.call_timeout_ms {
            texts.insert("default.api.timeout.ms".to_owned(), timeout.to_string());
        }
        const KNOWN: [&[Setting]; 5] = [
            ClusterOptions::SETTINGS,
            ProducerOptions::SETTINGS,
            FetcherOptions::SETTINGS,
            ConsumerOptions::SETTINGS,
            ShareOptions::SETTINGS,
        ];
        for key in unknown_keys(&texts, &KNOWN) {
            output::remark(format_args!("warning: the setting {key} is not known and has no effect"));
        }
        Ok(texts)
    }

    /// A cluster that has answered.
    pub(crate) async fn connect(&self, host: &Host, texts: &Texts) -> Outcome<Cluster> {
        let options = ClusterOptions::read(texts).map_err(Failure::misuse)?;
        let limit = Duration::from_millis(u64::try_from(options.default_api_timeout_ms).unwrap_or(0));
        let connecting = Cluster::connect(host, options);
        match host.timeout(limit, connecting).await {
            Ok(connected) => connected.map_err(explain),
            Err(_) => Err(Failure::new("no server has answered in time").advice(UNREACHABLE_ADVICE)),
        }
    }

    /// What administers the cluster.
    pub(crate) async fn admin(&self, host: &Host) -> Outcome<Admin> {
        let texts = self.texts(host, &[])?;
        Ok(Admin::new(self.connect(host, &texts).await?))
    }
}

const UNREACHABLE_ADVICE: &str = "start a server with `ottla start`, or name one with --bootstrap-server";

/// What an error means for who typed the command.
pub(crate) fn explain(error: Error) -> Failure {
    let failure = Failure::new(&error);
    let advice = match &error {
        Error::Unreachable(_) => UNREACHABLE_ADVICE,
        Error::TimedOut { .. } => "look whether it was done after all, or allow more with --call-timeout-ms",
        Error::Disconnected { .. } => "look into the log of the server, and try again",
        Error::Corrupt(_) => "look whether a Kafka server listens at that address, without TLS",
        Error::Refused(refusal) => match advice_about(refusal.code) {
            Some(advice) => advice,
            None => return failure,
        },
        Error::Fenced(_) => "end one of the two programs, or give them different names",
        Error::Unsupported(_) | Error::Invalid(_) | Error::Closed(_) => return failure,
    };
    failure.advice(advice)
}

fn advice_about(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::UnknownTopicOrPartition => {
            "`ottla topic list` shows the topics, `ottla topic create` makes one"
        }
        ErrorCode::TopicAlreadyExists => "choose another name, or pass --if-not-exists",
        ErrorCode::InvalidReplicationFactor => {
            "ask for no more replicas than `ottla cluster describe` shows brokers"
        }
        ErrorCode::OffsetOutOfRange => {
            "read with --from-beginning, or from an offset that still is in the log"
        }
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed => "have an administrator grant this user what it needs",
        ErrorCode::GroupIdNotFound => "`ottla group list` shows the groups",
        ErrorCode::NonEmptyGroup => "stop its members first; `ottla group members` shows them",
        ErrorCode::UnknownMemberId => "its members are at work: stop them first",
        ErrorCode::GroupSubscribedToTopic => "its members read the topic: stop them first",
        ErrorCode::TransactionalIdNotFound => "`ottla txn list` shows the transactional ids",
        ErrorCode::MessageTooLarge => "send smaller records, or raise max.message.bytes of the topic",
        ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend => {
            "`ottla topic describe` shows which replicas are in sync; min.insync.replicas says how many must be"
        }
        _ => return None,
    })
}

/// Parts the results of a call into what was done and a failure if an item was refused. Of several refusals all but
/// one are told at once. `name` says what an item is.
pub(crate) fn items<K, T>(items: Items<K, T>, name: impl Fn(&K) -> String) -> (Vec<(K, T)>, Outcome) {
    let mut done = Vec::with_capacity(items.len());
    let mut outcome = Ok(());
    for (key, result) in items {
        match result {
            Ok(value) => done.push((key, value)),
            Err(error) => {
                let failure = explain(error).about(name(&key));
                if let Err(before) = std::mem::replace(&mut outcome, Err(failure)) {
                    before.tell();
                }
            }
        }
    }
    (done, outcome)
}

/// A count and what is counted.
pub(crate) fn count_of(count: impl TryInto<u64>, one: &str) -> String {
    match count.try_into() {
        Ok(1) => format!("1 {one}"),
        Ok(count) => format!("{count} {one}s"),
        Err(_) => format!("{one}s"),
    }
}

/// Numbers between commas.
pub(crate) fn joined<T: std::fmt::Display>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
