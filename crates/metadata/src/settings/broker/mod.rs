//! Settings of a server, one table for each subject.

mod cleaner;
mod dynamic_quotas;
mod groups;
mod log;
mod network;
mod ottla;
mod quorum;
mod quotas;
mod replication;
mod security_sasl;
mod security_tls;
mod server;
mod share_groups;
mod streams_groups;
mod tiered;
mod transactions;

use ottla_base::settings::{InvalidSetting, Setting, Table, Texts};

pub use cleaner::CleanerSettings;
pub use dynamic_quotas::DynamicQuotaSettings;
pub use groups::GroupCoordinatorSettings;
pub use log::LogSettings;
pub use network::NetworkSettings;
pub use ottla::OttlaSettings;
pub use quorum::QuorumSettings;
pub use quotas::QuotaSettings;
pub use replication::ReplicationSettings;
pub use security_sasl::SaslSettings;
pub use security_tls::TlsSettings;
pub use server::GeneralSettings;
pub use share_groups::ShareGroupCoordinatorSettings;
pub use streams_groups::StreamsGroupCoordinatorSettings;
pub use tiered::TieredStorageSettings;
pub use transactions::TransactionSettings;

macro_rules! subjects {
    ($($(#[doc = $about:literal])+ $field:ident: $table:ty,)*) => {
        /// The settings of a server, typed and checked one by one. What they must satisfy together is
        /// checked where the server is started.
        #[derive(Debug, Clone, PartialEq)]
        pub struct ServerSettings {
            $($(#[doc = $about])+ pub $field: $table,)*
        }

        impl ServerSettings {
            /// The tables in the order of the reference, under the names of their fields.
            pub fn subjects() -> Vec<(&'static str, &'static [Setting])> {
                vec![$((concat!($($about),+).trim_ascii_start(), <$table>::SETTINGS)),*]
            }

            /// Reads every setting from texts in which all layers have been put together.
            pub fn read(texts: &Texts) -> Result<ServerSettings, InvalidSetting> {
                Ok(ServerSettings { $($field: <$table>::read(texts)?,)* })
            }
        }
    };
}

subjects! {
    /// Roles, quorum and metadata log
    quorum: QuorumSettings,
    /// Listeners, connections and requests
    network: NetworkSettings,
    /// Logs
    log: LogSettings,
    /// Compaction
    cleaner: CleanerSettings,
    /// Topics, metrics and plugins
    general: GeneralSettings,
    /// Replication and leadership
    replication: ReplicationSettings,
    /// Transactions and idempotent producers
    transactions: TransactionSettings,
    /// Classic and consumer groups
    groups: GroupCoordinatorSettings,
    /// Share groups
    share_groups: ShareGroupCoordinatorSettings,
    /// Streams groups
    streams_groups: StreamsGroupCoordinatorSettings,
    /// Quotas
    quotas: QuotaSettings,
    /// Quotas of replication, dynamic only
    dynamic_quotas: DynamicQuotaSettings,
    /// TLS and authorization
    tls: TlsSettings,
    /// SASL and delegation tokens
    sasl: SaslSettings,
    /// Tiered storage
    tiered: TieredStorageSettings,
    /// Ottla's own
    ottla: OttlaSettings,
}

impl ServerSettings {
    /// Everything that is wrong with single values.
    pub fn problems(texts: &Texts) -> Vec<InvalidSetting> {
        let tables = ServerSettings::subjects().into_iter().flat_map(|(_, table)| table);
        tables.filter_map(|setting| setting.read(texts).err()).collect()
    }

    /// The tables of settings that a file may hold: all but those that exist only as dynamic ones.
    pub fn tables() -> Vec<&'static [Setting]> {
        let dynamic_only = DynamicQuotaSettings::SETTINGS.as_ptr();
        let all = ServerSettings::subjects().into_iter().map(|(_, table)| table);
        all.filter(|table| table.as_ptr() != dynamic_only).collect()
    }
}
