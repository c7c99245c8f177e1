//! What a server finds in its settings and on its disks before it does anything: what it will do, what it will not, and
//! why it would not start.
//!
//! `start` refuses with what is a refusal here and warns of the rest; `ottla doctor` shows all of it and changes
//! nothing.
//!
//! | file | holds |
//! |---|---|
//! | `settings` | what is wrong with settings, or without effect |
//! | `plugins` | Java classes that settings name, and what Ottla has in their place |
//! | `directories` | log directories: whose they are, what is in them |
//! | `cluster` | what the metadata log says of the cluster, read without opening it |

mod cluster;
mod directories;
mod plugins;
pub mod settings;
#[cfg(test)]
mod tests;

use std::fmt;

use ottla_base::NodeId;
use ottla_host::Host;

use crate::config::BrokerSettings;

pub use cluster::ClusterReport;
pub(crate) use directories::Claim;
pub use directories::{DirectoryReport, DirectoryState};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Good to know.
    Note,
    /// Something will be different from Apache Kafka.
    Warning,
    /// The server does not start.
    Refusal,
}

impl Weight {
    /// For people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Weight::Note => "note",
            Weight::Warning => "warning",
            Weight::Refusal => "refusal",
        }
    }
}

/// What a finding is about: findings of one kind are told together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A setting that has no effect.
    Idle,
    /// A setting that Apache Kafka 4 has removed.
    Removed,
    /// A setting that nobody knows.
    Unknown,
    /// A Java class, which is not loaded.
    PlugIn,
    /// Anything else.
    Other,
}

impl Kind {
    /// For people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Idle => "without effect",
            Kind::Removed => "removed in Kafka 4",
            Kind::Unknown => "unknown setting",
            Kind::PlugIn => "Java class",
            Kind::Other => "",
        }
    }
}

/// One thing that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// Its kind.
    pub kind: Kind,
    /// A setting, a directory, a topic; empty if it is about nothing in particular.
    pub about: String,
    /// What there is to say.
    pub says: String,
}

impl Finding {
    /// A finding of no particular kind.
    pub fn new(weight: Weight, about: impl Into<String>, says: impl Into<String>) -> Finding {
        Finding { weight, kind: Kind::Other, about: about.into(), says: says.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.about.as_str(), self.says.as_str()) {
            ("", says) => formatter.write_str(says),
            (about, "") => formatter.write_str(about),
            (about, says) => write!(formatter, "{about}: {says}"),
        }
    }
}

/// Everything that was found.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// The node that the settings describe.
    pub node_id: NodeId,
    /// `process.roles`.
    pub roles: Vec<String>,
    /// The cluster that the directories belong to.
    pub cluster_id: Option<String>,
    /// Its directories, in the order of `log.dirs`; that of the metadata last if it is not among them.
    pub directories: Vec<DirectoryReport>,
    /// What the metadata log says.
    pub cluster: Option<ClusterReport>,
    /// What an operator should know, the heaviest first.
    pub findings: Vec<Finding>,
}

impl Readiness {
    /// The weight of the heaviest finding.
    pub fn weight(&self) -> Weight {
        self.findings.iter().map(|it| it.weight).max().unwrap_or(Weight::Note)
    }
}

/// Looks at everything that a start would look at. Reads only, takes no lock, and works beside a server that runs.
/// Blocks.
pub fn look(host: &Host, settings: &BrokerSettings) -> Readiness {
    let mut findings = settings.findings.clone();
    findings.extend(settings::of_server(settings));
    let mut claim = Claim::default();
    if let Err(refusal) = claim.read(&host.disk(), settings) {
        findings.push(refusal);
    }
    let cluster = match cluster::look(host, settings, &claim) {
        Ok(report) => report,
        Err(refusal) => {
            findings.push(refusal);
            None
        }
    };
    let image = cluster.as_ref().map(|it| &it.image);
    let directories = directories::look(host, settings, &claim, image, &mut findings);
    if let Some(report) = &cluster {
        findings.extend(report.findings(settings));
    }
    findings.sort_by_key(|it| std::cmp::Reverse(it.weight));
    Readiness {
        node_id: settings.node_id(),
        roles: settings.server.quorum.process_roles.clone(),
        cluster_id: claim.cluster_id(),
        directories,
        cluster,
        findings,
    }
}
