//! Bytes from Apache Kafka's own serializers, against ours: no server is needed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Setting;
use super::capture::capture;
use super::reference::ClassPath;
use super::roundtrip::{hash, list};
use super::transcript::Transcript;
use crate::workspace::{Outcome, root};

const LIMIT: Duration = Duration::from_secs(900);
/// The sample that `crates/wire/testdata/golden.gz` holds has seed 1 and three values for each version.
const SEED: &str = "2";
const SAMPLES: &str = "24";

/// The scenario `wire`: every message at every version with random fields, written by Apache Kafka, read and
/// written again by ours, the same values at every other version that can say them, and those read again by
/// Apache Kafka.
pub fn run(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    let theirs = setting.folder.join("kafka.gz");
    let ours = setting.folder.join("ottla.gz");
    let (mut expected, mut seen) = (Transcript::default(), Transcript::default());
    let mut step = |name: &str, failure: Option<String>| {
        expected.section(name);
        seen.section(name);
        failure
            .into_iter()
            .flat_map(|it| it.lines().map(str::to_owned).collect::<Vec<_>>())
            .for_each(|it| seen.line(it));
    };
    let mut write = setting.reference.program(ClassPath::Server, "GoldenWire", &[])?;
    let written = capture(write.arg("write").arg(&theirs).args([SEED, SAMPLES]), b"", LIMIT)?;
    eprint!("{}", written.success("GoldenWire write")?);
    step("what Apache Kafka writes is read and written again", rust(&theirs, &ours)?);
    let mut check = setting.reference.program(ClassPath::Server, "GoldenWire", &[])?;
    let checked = capture(check.arg("check").arg(&ours), b"", LIMIT)?;
    let told = format!("{}{}", checked.stdout, checked.stderr);
    eprint!("{}", told.lines().last().map(|it| format!("{it}\n")).unwrap_or_default());
    step(
        "what we write is read and written again by Apache Kafka",
        (checked.code != Some(0)).then_some(told),
    );
    Ok((expected, seen))
}

/// The scenario `record`: what Apache Kafka's own classes write is what our tests hold ourselves against.
pub fn record(setting: &Setting<'_>) -> Outcome<(Transcript, Transcript)> {
    let (mut expected, mut seen) = (Transcript::default(), Transcript::default());
    let batches = setting.folder.join("batches.bin");
    let producers = setting.folder.join("golden-0");
    let assignors = setting.folder.join("assignors.txt");
    for (program, made, kept) in [
        ("GoldenBatches", &batches, "crates/record/testdata/batches.bin"),
        ("GoldenProducerState", &producers, "crates/storage/testdata/golden-0"),
        ("GoldenClientAssignors", &assignors, "crates/client/testdata/assignors.txt"),
    ] {
        let mut java = setting.reference.program(ClassPath::Server, program, &["-Dlog4j2.level=OFF"])?;
        capture(java.arg(made), b"", LIMIT)?.success(program)?;
        let kept = root().join(kept);
        let mut files = Vec::new();
        list(&kept, &mut files)?;
        files.sort();
        for file in files {
            let below = file.strip_prefix(&kept)?;
            let theirs = if made.is_dir() { made.join(below) } else { made.clone() };
            for transcript in [&mut expected, &mut seen] {
                transcript.section(&format!("{program} {}", below.display()));
            }
            expected.line(hash(&std::fs::read(theirs)?).to_string());
            seen.line(hash(&std::fs::read(file)?).to_string());
        }
    }
    Ok((expected, seen))
}

/// Runs the test of `wire` over these bytes; what it said if it failed.
fn rust(theirs: &Path, ours: &Path) -> Outcome<Option<String>> {
    let mut test = Command::new("cargo");
    test.args(["test", "--quiet", "--locked", "-p", "ottla-wire", "--test", "bytes", "golden::"]);
    test.env("OTTLA_GOLDEN", theirs).env("OTTLA_GOLDEN_ANSWER", ours).current_dir(root());
    let tested = capture(&mut test, b"", LIMIT)?;
    Ok((tested.code != Some(0)).then(|| format!("{}{}", tested.stdout, tested.stderr)))
}
