//! `meta.properties`: which cluster, node and directory a log directory belongs to (`MetaProperties`,
//! `MetaPropertiesEnsemble`).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use ottla_base::settings::parse_properties;
use ottla_base::{NodeId, Timestamp, Uuid};
use ottla_host::Disk;

use crate::checkpoint_file::MalformedFile;

#[cfg(test)]
mod tests;

/// The file's name within a log directory.
pub const META_PROPERTIES_FILE: &str = "meta.properties";

const MAX_BYTES: u64 = 64 << 10;

/// What a `meta.properties` file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaProperties {
    /// How it says it.
    pub version: MetaVersion,
    /// `cluster.id`; always there in version 1.
    pub cluster_id: Option<String>,
    /// `node.id`, in version 0 `broker.id`; always there in version 1.
    pub node_id: Option<NodeId>,
    /// `directory.id`; without one the directory has not yet been told from its neighbours.
    pub directory_id: Option<Uuid>,
}

/// The versions of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetaVersion {
    /// From the time of ZooKeeper; nothing is sure to be there.
    V0,
    /// From KRaft.
    V1,
}

impl MetaProperties {
    /// What a formatted directory says.
    pub fn new(cluster_id: impl Into<String>, node_id: NodeId, directory_id: Uuid) -> MetaProperties {
        MetaProperties {
            version: MetaVersion::V1,
            cluster_id: Some(cluster_id.into()),
            node_id: Some(node_id),
            directory_id: Some(directory_id),
        }
    }

    /// Reads the file of a log directory; `None` if the directory was never formatted.
    pub fn read(disk: &Disk, directory: &Path) -> io::Result<Option<MetaProperties>> {
        let path = directory.join(META_PROPERTIES_FILE);
        let content = match disk.read(&path, MAX_BYTES) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match MetaProperties::parse(&content) {
            Ok(properties) => Ok(Some(properties)),
            Err(reason) => Err(MalformedFile::error(&path, reason)),
        }
    }

    /// Replaces the file of a log directory, durably and whole. `now` goes into a comment, as in Kafka.
    pub fn write(&self, disk: &Disk, directory: &Path, now: Timestamp) -> io::Result<()> {
        disk.write_atomically(directory.join(META_PROPERTIES_FILE), self.format(now).as_bytes())
    }

    fn parse(content: &[u8]) -> Result<MetaProperties, String> {
        let texts = parse_properties(content).map_err(|error| error.to_string())?;
        let version = match texts.get("version").map_or("0", |it| it.trim()).parse::<i32>() {
            Ok(0) => MetaVersion::V0,
            Ok(1) => MetaVersion::V1,
            Ok(version) => return Err(format!("version {version} is unknown")),
            Err(_) => return Err(format!("{:?} is not a version", texts["version"])),
        };
        let node_id_key = version.node_id_key();
        let node_id = match texts.get(node_id_key) {
            Some(text) => {
                let id = text.parse().map_err(|_| format!("{node_id_key} {text:?} is not a number"))?;
                Some(NodeId(id))
            }
            None => None,
        };
        let directory_id = match texts.get("directory.id") {
            Some(text) => {
                let id = text.parse().map_err(|error| format!("directory.id {text:?} is {error}"))?;
                Some(id)
            }
            None => None,
        };
        let cluster_id = texts.get("cluster.id").cloned();
        if version == MetaVersion::V1 && node_id.is_none() {
            return Err("node.id was not found".to_owned());
        }
        if version == MetaVersion::V1 && cluster_id.is_none() {
            return Err("cluster.id was not found".to_owned());
        }
        Ok(MetaProperties { version, cluster_id, node_id, directory_id })
    }

    fn format(&self, now: Timestamp) -> String {
        let entries = [
            ("version", Some(self.version.number().to_string())),
            ("cluster.id", self.cluster_id.clone()),
            (self.version.node_id_key(), self.node_id.map(|id| id.to_string())),
            ("directory.id", self.directory_id.map(|id| id.to_string())),
        ];
        let entries: BTreeMap<_, _> = entries.into_iter().collect();
        let mut text = format!("#\n#{}\n", java_date(now));
        for (key, value) in entries {
            if let Some(value) = value {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{key}={}", escaped(&value));
            }
        }
        text
    }
}

impl MetaVersion {
    /// The number in the file.
    pub fn number(self) -> i32 {
        match self {
            MetaVersion::V0 => 0,
            MetaVersion::V1 => 1,
        }
    }

    fn node_id_key(self) -> &'static str {
        match self {
            MetaVersion::V0 => "broker.id",
            MetaVersion::V1 => "node.id",
        }
    }
}

/// Log directories that cannot belong to one broker, in words for its operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InconsistentDirectories(String);

/// Checks that the log directories of one broker belong together, to the cluster if that is known, and to
/// the node: `MetaPropertiesEnsemble.verify`.
pub fn verify_directories(
    directories: &BTreeMap<PathBuf, MetaProperties>,
    cluster_id: Option<&str>,
    node_id: NodeId,
) -> Result<(), InconsistentDirectories> {
    let mut expected_cluster = cluster_id;
    let mut seen: BTreeMap<Uuid, &Path> = BTreeMap::new();
    for (directory, properties) in directories {
        let path = directory.join(META_PROPERTIES_FILE);
        let path = path.display();
        if let Some(found) = properties.cluster_id.as_deref() {
            let expected = *expected_cluster.get_or_insert(found);
            if found != expected {
                return Err(InconsistentDirectories(format!(
                    "invalid cluster.id in {path}: expected {expected}, but read {found}"
                )));
            }
        }
        if let Some(found) = properties.node_id.filter(|found| *found != node_id) {
            return Err(InconsistentDirectories(format!(
                "stored node id {found} does not match the configured node id {node_id} in {path}: if you moved \
                 your data, make sure your configured node id matches; if you intend to create a new node, \
                 remove all data in your data directories"
            )));
        }
        if let Some(id) = properties.directory_id {
            if id.is_reserved() {
                return Err(InconsistentDirectories(format!("reserved directory id {id} in {path}")));
            }
            if let Some(other) = seen.insert(id, directory) {
                return Err(InconsistentDirectories(format!(
                    "duplicate directory id {id}: it is the id of {} and of {}",
                    other.display(),
                    directory.display()
                )));
            }
        }
    }
    Ok(())
}

/// A value as `java.util.Properties.store` writes it.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (index, letter) in value.chars().enumerate() {
        match letter {
            ' ' if index == 0 => text.push_str("\\ "),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\u{c}' => text.push_str("\\f"),
            '\\' | '=' | ':' | '#' | '!' => {
                text.push('\\');
                text.push(letter);
            }
            // The file is read as Latin-1.
            letter if !letter.is_ascii() || letter.is_ascii_control() => {
                let mut units = [0; 2];
                for unit in letter.encode_utf16(&mut units) {
                    let _ = write!(text, "\\u{unit:04X}");
                }
            }
            letter => text.push(letter),
        }
    }
    text
}

/// A time as `java.util.Date.toString` writes it in UTC: `Sat Nov 21 10:15:06 UTC 2026`.
fn java_date(time: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = time.get().div_euclid(1000);
    let days = seconds.div_euclid(86_400);
    let second_of_day = seconds.rem_euclid(86_400);
    // Years are counted from March, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = year_of_era + era * 400 + i64::from(month < 2);
    format!(
        "{} {} {day:02} {:02}:{:02}:{:02} UTC {year}",
        DAYS[days.rem_euclid(7) as usize],
        MONTHS[month as usize],
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60
    )
}
