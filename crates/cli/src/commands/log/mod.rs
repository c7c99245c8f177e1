//! `ottla log dump`: the files of a broker, decoded and checked.
//!
//! | file | holds |
//! |---|---|
//! | `kind` | which file is what, judged by its name |
//! | `report` | entries and problems, as text like `kafka-dump-log` prints it or as JSON |
//! | `segment` | `.log` and `.checkpoint`: batches and their records |
//! | `payload` | what the records of internal topics mean |
//! | `index` | `.index`, `.timeindex` and `.txnindex`, held against their log |
//! | `small` | the small files |

mod index;
mod kind;
mod payload;
mod report;
mod segment;
mod small;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ottla_host::{Disk, Host};

use crate::failure::{Failure, Outcome};
use crate::output::{Output, Style};
use kind::FileKind;
use payload::Decoder;
use report::Report;

/// What to look into.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Decode and check files: segments, indexes, snapshots, checkpoints, and every other file of a log directory
    Dump(DumpArguments),
}

/// Flags of `log dump`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla log dump ottla-data/orders-0/00000000000000000000.log\n      \
        the batches of a segment\n  \
    ottla log dump --deep ottla-data/orders-0/00000000000000000000.log\n      \
        their records, keys and values too\n  \
    ottla log dump --deep ottla-data/__cluster_metadata-0\n      \
        every file of the metadata log, records decoded\n  \
    ottla log dump --verify-only ottla-data\n      \
        only what is damaged, of every file; exit code 1 if there is something\n\n\
    Files are only read; that a broker is running does no harm, but what it is writing may look torn.")]
pub(crate) struct DumpArguments {
    /// Files, or directories with all that is in them
    #[arg(value_name = "PATH", required_unless_present = "files")]
    paths: Vec<PathBuf>,
    /// Files, separated by commas, as `kafka-dump-log` takes them
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    files: Vec<PathBuf>,
    /// Show every record: offset, timestamp, headers, key and value
    #[arg(long, visible_alias = "print-data-log", alias = "deep-iteration")]
    deep: bool,
    /// What keys and values mean
    #[arg(long, value_enum, default_value_t = Decoder::Auto, value_name = "DECODER")]
    decoder: Decoder,
    /// Show only what is wrong
    #[arg(long)]
    verify_only: bool,
    #[command(flatten)]
    style: Style,
}

/// Runs the command.
pub(crate) fn run(command: LogCommand) -> Outcome {
    let LogCommand::Dump(arguments) = command;
    let disk = Host::real().disk();
    let mut report = Report::new(Output::new(), arguments.style, arguments.verify_only);
    let depth = Depth { deep: arguments.deep, decoder: arguments.decoder };
    for path in arguments.paths.iter().chain(&arguments.files) {
        dump(&disk, path, depth, &mut report)?;
    }
    report.finish()
}

/// How much is shown of a segment.
#[derive(Debug, Clone, Copy)]
struct Depth {
    deep: bool,
    decoder: Decoder,
}

/// Shows a file, or every file that is known in a directory and in those below it.
fn dump(disk: &Disk, path: &Path, depth: Depth, report: &mut Report) -> Outcome {
    let metadata = disk.metadata(path).map_err(|error| {
        Failure::new(format!("cannot read {}: {error}", path.display()))
            .advice("name a file or directory below the broker's log.dirs")
    })?;
    if !metadata.is_dir {
        return match FileKind::of(path) {
            Some(kind) => dump_file(disk, path, kind, depth, report),
            None => Err(Failure::misuse(format!("{} is no file of a broker", path.display())).advice(
                "name a .log, .index, .timeindex, .txnindex, .snapshot or .checkpoint file, a checkpoint, \
                 meta.properties, partition.metadata or quorum-state",
            )),
        };
    }
    let entries =
        disk.list(path).map_err(|error| Failure::new(format!("cannot list {}: {error}", path.display())))?;
    for entry in entries {
        let inside = path.join(&entry.name);
        if entry.is_dir {
            dump(disk, &inside, depth, report)?;
        } else if let Some(kind) = FileKind::of(&inside) {
            dump_file(disk, &inside, kind, depth, report)?;
        }
    }
    Ok(())
}

fn dump_file(disk: &Disk, path: &Path, kind: FileKind, depth: Depth, report: &mut Report) -> Outcome {
    report.begin(path, kind.name())?;
    let dumped = match kind {
        FileKind::Segment(base) => segment::dump_segment(disk, path, base, depth, report),
        FileKind::MetadataSnapshot => segment::dump_snapshot(disk, path, depth, report),
        FileKind::OffsetIndex(base) => index::dump_offset_index(disk, path, base, report),
        FileKind::TimeIndex(base) => index::dump_time_index(disk, path, base, report),
        FileKind::TransactionIndex(base) => index::dump_transaction_index(disk, path, base, report),
        FileKind::ProducerSnapshot => small::dump_producer_snapshot(disk, path, report),
        FileKind::LeaderEpochs => small::dump_leader_epochs(disk, path, report),
        FileKind::Offsets => small::dump_offsets(disk, path, report),
        FileKind::MetaProperties => small::dump_meta_properties(disk, path, report),
        FileKind::PartitionMetadata => small::dump_partition_metadata(disk, path, report),
        FileKind::QuorumState => small::dump_quorum_state(disk, path, report),
        FileKind::CleanShutdown => small::dump_clean_shutdown(disk, path, report),
    };
    dumped.or_else(|stop| match stop {
        Stop::Unreadable(reason) => report.problem(reason),
        Stop::Failed(failure) => Err(failure),
    })
}

/// Why the dump of a file ended early.
enum Stop {
    /// The file is not what its name says, or the disk failed: a problem of the file.
    Unreadable(String),
    /// Nothing more can be printed.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Stop {
        Stop::Unreadable(error.to_string())
    }
}

type Dumped = Result<(), Stop>;
