//! `cargo xtask compat`: programs nobody here wrote, run against Ottla and against Apache Kafka, compared.
//!
//! Every scenario runs one script against one node and yields a [`transcript::Transcript`] with everything
//! masked that may differ between two runs of the same server. What is left must be equal; what is not must
//! be listed in `explained.toml`, whose entries point into `docs/clients.md`.

mod capture;
mod clients;
mod compaction;
mod configs;
mod difference;
mod explained;
mod format;
mod golden;
mod grouptrip;
mod java;
mod mask;
pub mod node;
pub mod reference;
mod roundtrip;
mod store_server;
mod streams;
mod takeover;
mod tier;
mod tools;
mod transcript;
mod verifiable;

pub use roundtrip::list as list_files;

use std::path::{Path, PathBuf};
use std::time::Instant;

use difference::Difference;
use explained::Explained;
use node::{Maker, Node};
use reference::Reference;
use transcript::Transcript;

use crate::workspace::Outcome;

/// What `cargo xtask compat` takes.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// The scenarios to run, by name; all of them when none is named.
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Lists the scenarios.
    #[arg(long)]
    list: bool,
    /// Only the scenarios that continuous integration runs.
    #[arg(long)]
    ci: bool,
    /// Puts Apache Kafka in Ottla's place: any difference is then the harness's own.
    #[arg(long)]
    self_check: bool,
    /// Keeps the folders of the nodes and says where they are.
    #[arg(long)]
    keep: bool,
}

impl Arguments {
    /// What continuous integration asks for.
    pub fn for_ci() -> Arguments {
        Arguments { ci: true, ..Arguments::default() }
    }
}

/// How a scenario comes to its differences.
enum Kind {
    /// The same script against each node of a pair; the transcripts are compared.
    Beside(fn(&Stage<'_>) -> Outcome<Transcript>),
    /// Starts what it needs itself and yields the transcript expected and the one seen.
    Alone(fn(&Setting<'_>) -> Outcome<(Transcript, Transcript)>),
    /// Like `Alone`, but starts no server at all.
    Bytes(fn(&Setting<'_>) -> Outcome<(Transcript, Transcript)>),
}

struct Scenario {
    name: &'static str,
    about: &'static str,
    /// Whether continuous integration runs it.
    ci: bool,
    kind: Kind,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "wire",
        about: "every message at every version, as Apache Kafka's own serializers write it",
        ci: true,
        kind: Kind::Bytes(golden::run),
    },
    Scenario {
        name: "record",
        about: "record batches and producer state, as Apache Kafka's own classes write them",
        ci: true,
        kind: Kind::Bytes(golden::record),
    },
    Scenario {
        name: "format",
        about: "kafka-storage: what it says and the directories that it leaves",
        ci: true,
        kind: Kind::Alone(format::run),
    },
    Scenario {
        name: "tools",
        about: "the command-line tools of Apache Kafka",
        ci: true,
        kind: Kind::Beside(tools::run),
    },
    Scenario {
        name: "configs",
        about: "every config of brokers and topics, described and altered",
        ci: true,
        kind: Kind::Beside(configs::run),
    },
    Scenario {
        name: "java",
        about: "Apache Kafka's Java producer, consumer and admin client",
        ci: true,
        kind: Kind::Beside(java::client),
    },
    Scenario {
        name: "probe",
        about: "every version of every request, answers compared field by field",
        ci: true,
        kind: Kind::Beside(java::probe),
    },
    Scenario {
        name: "java-groups",
        about: "members of groups and transactions of Apache Kafka's Java clients",
        ci: false,
        kind: Kind::Beside(java::group_client),
    },
    Scenario {
        name: "groups",
        about: "groups of every kind and offsets: every version of every request",
        ci: true,
        kind: Kind::Beside(java::groups),
    },
    Scenario {
        name: "transactions",
        about: "transactions: every version of every request",
        ci: true,
        kind: Kind::Beside(java::transactions),
    },
    Scenario {
        name: "group-tools",
        about: "the command-line tools of groups and transactions",
        ci: true,
        kind: Kind::Beside(tools::groups),
    },
    Scenario {
        name: "share-tools",
        about: "the command-line tools of share groups",
        ci: true,
        kind: Kind::Beside(tools::share),
    },
    Scenario {
        name: "java-share",
        about: "share consumers of the Java client, and the admin client on their groups",
        ci: false,
        kind: Kind::Beside(java::share_client),
    },
    Scenario {
        name: "java-verifiable",
        about: "the programs of Apache Kafka's system tests, killed in the middle",
        ci: false,
        kind: Kind::Beside(verifiable::run),
    },
    Scenario {
        name: "streams-demos",
        about: "the examples of Kafka Streams, and the tools on their groups",
        ci: false,
        kind: Kind::Beside(streams::demos),
    },
    Scenario {
        name: "streams-job",
        about: "a stateful exactly-once job of Kafka Streams, killed in the middle, by either protocol",
        ci: false,
        kind: Kind::Beside(streams::jobs),
    },
    Scenario {
        name: "streams-warmup",
        about: "an instance of Kafka Streams 4.4 joins another: tasks move at once, or warm up first",
        ci: false,
        kind: Kind::Alone(streams::warm_up),
    },
    Scenario { name: "kcat", about: "kcat (librdkafka)", ci: true, kind: Kind::Beside(clients::kcat) },
    Scenario {
        name: "confluent",
        about: "confluent-kafka for Python (librdkafka)",
        ci: true,
        kind: Kind::Beside(clients::confluent),
    },
    Scenario {
        name: "kafka-python",
        about: "kafka-python",
        ci: true,
        kind: Kind::Beside(clients::kafka_python),
    },
    Scenario { name: "kafkajs", about: "KafkaJS", ci: true, kind: Kind::Beside(clients::kafkajs) },
    Scenario { name: "franz", about: "franz-go", ci: true, kind: Kind::Beside(clients::franz) },
    Scenario {
        name: "confluent-groups",
        about: "confluent-kafka in groups and transactions",
        ci: true,
        kind: Kind::Beside(clients::confluent_groups),
    },
    Scenario {
        name: "kafka-python-groups",
        about: "kafka-python in groups and transactions",
        ci: true,
        kind: Kind::Beside(clients::kafka_python_groups),
    },
    Scenario {
        name: "kafkajs-groups",
        about: "KafkaJS in groups and transactions",
        ci: true,
        kind: Kind::Beside(clients::kafkajs_groups),
    },
    Scenario {
        name: "franz-groups",
        about: "franz-go in groups and transactions",
        ci: true,
        kind: Kind::Beside(clients::franz_groups),
    },
    Scenario {
        name: "roundtrip",
        about: "one data directory served by Apache Kafka, Ottla and Apache Kafka in turn",
        ci: true,
        kind: Kind::Alone(roundtrip::run),
    },
    Scenario {
        name: "compaction",
        about: "logs compacted by Apache Kafka and by Ottla, then by the other: what is left",
        ci: true,
        kind: Kind::Alone(compaction::run),
    },
    Scenario {
        name: "compaction-tester",
        about: "LogCompactionTester of Apache Kafka's tools",
        ci: false,
        kind: Kind::Alone(compaction::tester),
    },
    Scenario {
        name: "grouptrip",
        about: "live groups and an open transaction, served by Apache Kafka and Ottla in turn",
        ci: false,
        kind: Kind::Alone(grouptrip::run),
    },
    Scenario {
        name: "takeover-3.9",
        about: "a directory of Apache Kafka 3.9 at metadata.version 3.9, voters named by the settings; and back",
        ci: false,
        kind: Kind::Alone(takeover::from_39),
    },
    Scenario {
        name: "takeover-3.3",
        about: "the same at metadata.version 3.3, the oldest there is",
        ci: false,
        kind: Kind::Alone(takeover::from_33),
    },
    Scenario {
        name: "takeover-4.0",
        about: "a directory of Apache Kafka 4.0, voters in the metadata log; and back",
        ci: false,
        kind: Kind::Alone(takeover::from_40),
    },
    Scenario {
        name: "takeover-4.3",
        about: "a directory of Apache Kafka 4.3; and back",
        ci: false,
        kind: Kind::Alone(takeover::from_43),
    },
    Scenario {
        name: "takeover-4.4",
        about: "a directory of Apache Kafka 4.4; and back",
        ci: false,
        kind: Kind::Alone(takeover::from_44),
    },
    Scenario {
        name: "tier",
        about: "tiered storage in a directory, beside Apache Kafka's LocalTieredStorage and in turn with it",
        ci: false,
        kind: Kind::Alone(tier::run),
    },
    Scenario {
        name: "tier-s3",
        about: "tiered storage in a bucket of a real S3 server (moto)",
        ci: false,
        kind: Kind::Alone(tier::s3),
    },
    Scenario {
        name: "tier-gcs",
        about: "tiered storage by Google's client, whose XML protocol moto takes for that of S3",
        ci: false,
        kind: Kind::Alone(tier::gcs),
    },
    Scenario {
        name: "tier-azure",
        about: "tiered storage in a container of a server of Azure Blob Storage (Azurite)",
        ci: false,
        kind: Kind::Alone(tier::azure),
    },
    Scenario {
        name: "files",
        about: "the same batches written to each, every file compared",
        ci: true,
        kind: Kind::Alone(roundtrip::files),
    },
];

/// What every scenario of one run shares.
struct Setting<'a> {
    reference: &'a Reference,
    /// Who stands in Ottla's place.
    candidate: Maker,
    /// A folder for this run's files.
    folder: PathBuf,
}

/// One scenario against one running node.
struct Stage<'a> {
    setting: &'a Setting<'a>,
    node: &'a Node<'a>,
    /// A folder for this scenario and node alone.
    folder: PathBuf,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Outcome {
    if arguments.list {
        for it in SCENARIOS {
            println!(
                "{:14}{}{}",
                it.name,
                it.about,
                if it.ci { "" } else { " (not in continuous integration)" }
            );
        }
        return Ok(());
    }
    let chosen = choose(&arguments)?;
    let mut explained = Explained::load()?;
    let reference = Reference::lay_out()?;
    let servers = chosen.iter().any(|it| !matches!(it.kind, Kind::Bytes(_)));
    let candidate = if arguments.self_check || !servers { Maker::Kafka } else { Maker::ottla()? };
    let mut folder = tempfile::Builder::new().prefix("ottla-compat-").tempdir()?;
    if arguments.keep {
        folder.disable_cleanup(true);
        eprintln!("keeping {}", folder.path().display());
    }
    let setting = Setting { reference: &reference, candidate, folder: folder.path().to_path_buf() };
    let saved = reference.target().join("compat");
    std::fs::create_dir_all(&saved)?;
    let (mut passed, mut failed) = (0, 0);
    for (scenario, pair) in transcripts(&chosen, &setting)? {
        let agree = match pair {
            Ok((expected, seen)) => {
                std::fs::write(saved.join(format!("{scenario}.kafka.txt")), expected.to_string())?;
                std::fs::write(saved.join(format!("{scenario}.ottla.txt")), seen.to_string())?;
                let found = difference::between(&expected, &seen);
                report(scenario, &found, &mut explained, &saved.join(format!("{scenario}.open.txt")))?
            }
            Err(error) => {
                println!("{scenario}: could not be run: {error}");
                false
            }
        };
        passed += usize::from(agree);
        failed += usize::from(!agree);
    }
    if !arguments.self_check {
        let ran = |scenario: &str| chosen.iter().any(|it| it.name == scenario);
        for entry in explained.unseen(ran) {
            println!("explained, but not seen in this run: {entry}");
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed > 0 {
        return Err("there are differences that docs/clients.md does not explain".into());
    }
    Ok(())
}

fn choose(arguments: &Arguments) -> Outcome<Vec<&'static Scenario>> {
    for name in &arguments.scenarios {
        if !SCENARIOS.iter().any(|it| it.name == name) {
            return Err(
                format!("there is no scenario `{name}`; `cargo xtask compat --list` names them").into()
            );
        }
    }
    let named =
        |it: &&Scenario| arguments.scenarios.is_empty() || arguments.scenarios.iter().any(|n| n == it.name);
    Ok(SCENARIOS.iter().filter(named).filter(|it| it.ci || !arguments.ci).collect())
}

type Pair = Outcome<(Transcript, Transcript)>;

/// Runs the scenarios that share a node against Apache Kafka, then against the candidate, so that only one
/// server is running at a time; then those that start their own.
fn transcripts(chosen: &[&'static Scenario], setting: &Setting<'_>) -> Outcome<Vec<(&'static str, Pair)>> {
    let mut pairs = Vec::new();
    let scripts: Vec<_> = chosen
        .iter()
        .filter_map(|it| match it.kind {
            Kind::Beside(script) => Some((it.name, script)),
            Kind::Alone(_) | Kind::Bytes(_) => None,
        })
        .collect();
    if !scripts.is_empty() {
        let expected = beside(&scripts, Maker::Kafka, "kafka", setting)?;
        let seen = beside(&scripts, setting.candidate.clone(), "ottla", setting)?;
        for ((name, _), (expected, seen)) in scripts.iter().zip(expected.into_iter().zip(seen)) {
            pairs.push((*name, expected.and_then(|expected| Ok((expected, seen?)))));
        }
    }
    for scenario in chosen {
        if let Kind::Alone(script) | Kind::Bytes(script) = scenario.kind {
            let begin = Instant::now();
            pairs.push((scenario.name, script(setting)));
            eprintln!("{:14}{:>6.1} s", scenario.name, begin.elapsed().as_secs_f64());
        }
    }
    Ok(pairs)
}

type Script = fn(&Stage<'_>) -> Outcome<Transcript>;

/// Every script against one node of `maker`, in order; a node that a script brought down is started again.
fn beside(
    scripts: &[(&'static str, Script)],
    maker: Maker,
    label: &str,
    setting: &Setting<'_>,
) -> Outcome<Vec<Outcome<Transcript>>> {
    let begin = Instant::now();
    let mut node = Node::new(maker, setting.reference, setting.folder.join(label), 1)?;
    node.format()?;
    node.start()?;
    eprintln!("{:14}{:>6.1} s  {label}", "(start)", begin.elapsed().as_secs_f64());
    let mut transcripts = Vec::new();
    for (name, script) in scripts {
        let begin = Instant::now();
        let folder = setting.folder.join(format!("{label}-{name}"));
        std::fs::create_dir_all(&folder)?;
        let mut transcript = script(&Stage { setting, node: &node, folder });
        if !node.is_running() {
            transcript = Err(format!("the server stopped by itself\n{}", node.last_words()).into());
            node.start()?;
        }
        transcripts.push(transcript);
        eprintln!("{name:14}{:>6.1} s  {label}", begin.elapsed().as_secs_f64());
    }
    node.stop()?;
    Ok(transcripts)
}

/// The most differences of one scenario that are printed.
const MAX_SHOWN: usize = 40;

/// Prints what differs and is not explained, and writes all of it to `file`; whether there is none.
fn report(scenario: &str, found: &[Difference], explained: &mut Explained, file: &Path) -> Outcome<bool> {
    let open: Vec<_> = found.iter().filter(|it| !explained.explains(scenario, it)).collect();
    let lines: String = open.iter().map(|it| format!("{it}\n")).collect();
    std::fs::write(file, lines)?;
    for difference in open.iter().take(MAX_SHOWN) {
        println!("{scenario}: {difference}");
    }
    if open.len() > MAX_SHOWN {
        println!("{scenario}: and {} more in {}", open.len() - MAX_SHOWN, file.display());
    }
    println!("{scenario}: {} differences, {} of them explained", found.len(), found.len() - open.len());
    Ok(open.is_empty())
}
