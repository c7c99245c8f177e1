//! `ottla group reset`: a group goes on elsewhere, as `kafka-consumer-groups --reset-offsets` has it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use ottla_base::{Offset, Str, Timestamp};
use ottla_client::admin::{Admin, GroupKind, Isolation, OffsetSpec};
use ottla_client::{Committed, CommittedOffset, TopicPartition};
use ottla_host::Host;
use serde_json::json;

use super::offsets::Scope;
use super::{describe_all, show};
use crate::commands::client::{explain, items};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Output, Style};

/// The longest file of offsets.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Flags of `reset`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ottla group reset payments --all-topics --to-earliest\n      \
        shows where the group would go on; nothing changes without --execute\n  \
    ottla group reset payments --topic orders --to-latest --execute\n  \
    ottla group reset payments --topic orders:0,2 --to-offset 1000 --execute\n  \
    ottla group reset payments --topic orders --to-datetime 2026-11-29T08:00:00.000 --execute\n  \
    ottla group reset payments --all-topics --by-duration PT1H30M --execute\n  \
    ottla group reset payments --all-topics --to-current --export > plan.csv\n  \
    ottla group reset payments --from-file plan.csv --execute")]
#[command(group = clap::ArgGroup::new("scenario").required(true))]
pub(super) struct ResetArguments {
    /// The group, which must have no members
    group: String,
    /// A topic, or some of its partitions: orders, orders:0,2; may be given several times
    #[arg(long, value_name = "TOPIC[:PARTITIONS]")]
    topic: Vec<String>,
    /// All topics that the group has committed
    #[arg(long, conflicts_with = "topic")]
    all_topics: bool,
    /// To the first offset
    #[arg(long, group = "scenario")]
    to_earliest: bool,
    /// Behind the last record
    #[arg(long, group = "scenario")]
    to_latest: bool,
    /// Nowhere else: for --export
    #[arg(long, group = "scenario")]
    to_current: bool,
    /// To an offset
    #[arg(long, group = "scenario", value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// So many records on, or back if negative
    #[arg(long, group = "scenario", value_name = "COUNT", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// To the first record at or after a time: 2026-11-29T08:00:00.000, in UTC unless an offset such as +01:00 follows
    #[arg(long, group = "scenario", value_name = "TIME")]
    to_datetime: Option<String>,
    /// To the first record at most so old: PnDTnHnMnS
    #[arg(long, group = "scenario", value_name = "DURATION")]
    by_duration: Option<String>,
    /// To the offsets in a file of lines topic,partition,offset
    #[arg(long, group = "scenario", value_name = "FILE", conflicts_with_all = ["topic", "all_topics"])]
    from_file: Option<PathBuf>,
    /// Do it; without this it is only shown
    #[arg(long, conflicts_with = "dry_run")]
    execute: bool,
    /// Only show what would be done, which is what happens without --execute
    #[arg(long)]
    dry_run: bool,
    /// Print lines topic,partition,offset, as --from-file takes them
    #[arg(long, conflicts_with = "json")]
    export: bool,
    #[command(flatten)]
    style: Style,
}

/// Where to go.
#[derive(Debug, Clone, PartialEq)]
enum Scenario {
    Earliest,
    Latest,
    Current,
    Offset(i64),
    Shift(i64),
    Since(Timestamp),
    Plan(BTreeMap<TopicPartition, Offset>),
}

/// What is known of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    first: Offset,
    end: Offset,
    committed: Option<Offset>,
    /// The first record at the time that was asked for.
    since: Option<Offset>,
}

/// Runs the command.
pub(super) async fn run(
    admin: &Admin,
    host: &Host,
    arguments: &ResetArguments,
    output: &mut Output,
) -> Outcome {
    let scenario = scenario(arguments, host)?;
    let group = Str::from(arguments.group.as_str());
    let described = match describe_all(admin, std::slice::from_ref(&arguments.group)).await {
        Ok(described) => described.into_iter().next(),
        // A group that does not exist begins with what it is given, as with Kafka.
        Err(failure) if failure.is_about("GROUP_ID_NOT_FOUND") => None,
        Err(failure) => return Err(failure),
    };
    if let Some(active) = described.as_ref().filter(|it| arguments.execute && !show::is_inactive(it)) {
        let message = format!(
            "the offsets of {group} can only be reset while it is inactive, and it is {}",
            active.state
        );
        return Err(Failure::new(message).advice("stop its members first; `ottla group members` shows them"));
    }
    let is_share = described.as_ref().is_some_and(|it| it.kind == GroupKind::Share);
    if is_share && matches!(scenario, Scenario::Shift(_)) {
        return Err(Failure::misuse("share groups have no place to shift from")
            .advice("--to-earliest, --to-latest, --to-datetime or --to-offset"));
    }
    let committed = match is_share {
        true => share_starts(admin, &group).await?,
        false => committed(admin, &group).await?,
    };
    let partitions = Box::pin(partitions(admin, arguments, &scenario, &committed)).await?;
    let known = Box::pin(known(admin, &partitions, &committed, &scenario)).await?;
    let mut plan = BTreeMap::new();
    for (partition, known) in known {
        plan.insert(partition.clone(), planned(&scenario, &partition, known)?);
    }
    if arguments.execute {
        match is_share {
            true => alter_share(admin, &group, &plan).await?,
            false => alter(admin, &group, &plan).await?,
        }
    }
    print(&group, &plan, &committed, arguments, output)
}

fn scenario(arguments: &ResetArguments, host: &Host) -> Outcome<Scenario> {
    if let Some(text) = &arguments.to_datetime {
        let time = parse_datetime(text).ok_or_else(|| {
            Failure::misuse(format!("--to-datetime {text}: that is no time"))
                .advice("2026-11-29T08:00:00.000")
        })?;
        return Ok(Scenario::Since(time));
    }
    if let Some(text) = &arguments.by_duration {
        let back = ottla_client::parse_duration(text).ok_or_else(|| {
            Failure::misuse(format!("--by-duration {text}: that is no duration"))
                .advice("P1D, PT1H30M, PT10S")
        })?;
        let back_ms = i64::try_from(back.as_millis()).unwrap_or(i64::MAX);
        return Ok(Scenario::Since(Timestamp(host.wall_clock().0.saturating_sub(back_ms).max(0))));
    }
    if let Some(path) = &arguments.from_file {
        let bytes = host.disk().read(path, MAX_FILE_BYTES);
        let bytes =
            bytes.map_err(|error| Failure::new(format!("--from-file {}: {error}", path.display())))?;
        return Ok(Scenario::Plan(parse_plan(&String::from_utf8_lossy(&bytes), &arguments.group)?));
    }
    Ok(match (arguments.to_offset, arguments.shift_by) {
        (Some(offset), _) => Scenario::Offset(offset),
        (_, Some(count)) => Scenario::Shift(count),
        _ if arguments.to_earliest => Scenario::Earliest,
        _ if arguments.to_latest => Scenario::Latest,
        _ => Scenario::Current,
    })
}

/// `topic,partition,offset`, or `group,topic,partition,offset` as Kafka's tool exports it for several groups.
fn parse_plan(text: &str, group: &str) -> Outcome<BTreeMap<TopicPartition, Offset>> {
    let mut plan = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split(',').map(|it| it.trim().trim_matches('"')).collect();
        let fields = match fields[..] {
            [of, topic, partition, offset] if of == group => Some((topic, partition, offset)),
            [_, _, _, _] => continue,
            [topic, partition, offset] => Some((topic, partition, offset)),
            _ => None,
        };
        let read = fields.and_then(|(topic, partition, offset)| {
            let partition = partition.parse::<i32>().ok().filter(|it| *it >= 0)?;
            Some((TopicPartition::new(topic, partition), Offset(offset.parse().ok()?)))
        });
        let Some((partition, offset)) = read else {
            return Err(Failure::misuse(format!(
                "line {} is not topic,partition,offset: {line}",
                number + 1
            )));
        };
        plan.insert(partition, offset);
    }
    Ok(plan)
}

async fn committed(admin: &Admin, group: &Str) -> Outcome<BTreeMap<TopicPartition, Offset>> {
    let committed = Box::pin(admin.group_offsets(group, None)).await.map_err(explain)?;
    Ok(committed.into_iter().map(|(partition, it)| (partition, it.offset)).collect())
}

async fn share_starts(admin: &Admin, group: &Str) -> Outcome<BTreeMap<TopicPartition, Offset>> {
    let starts = Box::pin(admin.share_group_offsets(group, None)).await.map_err(explain)?;
    let (starts, outcome) = items(starts, ToString::to_string);
    outcome?;
    Ok(starts.into_iter().filter_map(|(partition, it)| Some((partition, it.start?))).collect())
}

async fn partitions(
    admin: &Admin,
    arguments: &ResetArguments,
    scenario: &Scenario,
    committed: &BTreeMap<TopicPartition, Offset>,
) -> Outcome<Vec<TopicPartition>> {
    if let Scenario::Plan(plan) = scenario {
        return Ok(plan.keys().cloned().collect());
    }
    if arguments.all_topics {
        let topics: std::collections::BTreeSet<String> =
            committed.keys().map(|it| it.topic.to_string()).collect();
        return Scope::parse(&topics.into_iter().collect::<Vec<_>>())?.partitions(admin).await;
    }
    if arguments.topic.is_empty() {
        return Err(
            Failure::misuse("in which topics?").advice("--topic orders, --topic orders:0,2 or --all-topics")
        );
    }
    Scope::parse(&arguments.topic)?.partitions(admin).await
}

async fn known(
    admin: &Admin,
    partitions: &[TopicPartition],
    committed: &BTreeMap<TopicPartition, Offset>,
    scenario: &Scenario,
) -> Outcome<BTreeMap<TopicPartition, Known>> {
    let firsts = offsets(admin, partitions, OffsetSpec::Earliest).await?;
    let ends = offsets(admin, partitions, OffsetSpec::Latest).await?;
    let since = match scenario {
        Scenario::Since(time) => offsets(admin, partitions, OffsetSpec::AtOrAfter(*time)).await?,
        _ => BTreeMap::new(),
    };
    let known = partitions.iter().map(|it| {
        let known = Known {
            first: firsts.get(it).copied().flatten().unwrap_or(Offset::ZERO),
            end: ends.get(it).copied().flatten().unwrap_or(Offset::ZERO),
            committed: committed.get(it).copied(),
            since: since.get(it).copied().flatten(),
        };
        (it.clone(), known)
    });
    Ok(known.collect())
}

async fn offsets(
    admin: &Admin,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
) -> Outcome<BTreeMap<TopicPartition, Option<Offset>>> {
    let asked = partitions.iter().map(|it| (it.clone(), spec)).collect();
    let listed = Box::pin(admin.list_offsets(&asked, Isolation::ReadUncommitted)).await;
    let (listed, outcome) = items(listed, ToString::to_string);
    outcome?;
    Ok(listed.into_iter().map(|(partition, it)| (partition, it.offset)).collect())
}

/// Where a partition goes; never outside of its log.
fn planned(scenario: &Scenario, partition: &TopicPartition, known: Known) -> Outcome<Offset> {
    let within = |offset: i64| Offset(offset.clamp(known.first.get(), known.end.get()));
    let warned = |offset: i64| {
        let used = within(offset);
        if used.get() != offset {
            output::remark(format_args!(
                "warning: {partition} has the offsets {} to {}, and {offset} is not among them; {used} is taken",
                known.first, known.end
            ));
        }
        used
    };
    Ok(match scenario {
        Scenario::Earliest => known.first,
        Scenario::Latest => known.end,
        Scenario::Current => known.committed.unwrap_or(known.end),
        Scenario::Offset(offset) => warned(*offset),
        Scenario::Shift(count) => match known.committed {
            Some(committed) => warned(committed.get().saturating_add(*count)),
            None => {
                let message =
                    format!("nothing is committed for {partition}, so there is no place to shift from");
                return Err(Failure::new(message).advice("--to-earliest, --to-latest or --to-offset"));
            }
        },
        Scenario::Since(_) => known.since.unwrap_or(known.end),
        Scenario::Plan(plan) => warned(plan.get(partition).copied().unwrap_or(known.end).get()),
    })
}

async fn alter(admin: &Admin, group: &Str, plan: &BTreeMap<TopicPartition, Offset>) -> Outcome {
    let offsets: Committed =
        plan.iter().map(|(partition, offset)| (partition.clone(), CommittedOffset::from(*offset))).collect();
    if offsets.is_empty() {
        return Ok(());
    }
    let altered = Box::pin(admin.alter_group_offsets(group, &offsets)).await.map_err(explain)?;
    items(altered, ToString::to_string).1
}

async fn alter_share(admin: &Admin, group: &Str, plan: &BTreeMap<TopicPartition, Offset>) -> Outcome {
    if plan.is_empty() {
        return Ok(());
    }
    let altered = Box::pin(admin.alter_share_group_offsets(group, plan)).await.map_err(explain)?;
    items(altered, ToString::to_string).1
}

fn print(
    group: &Str,
    plan: &BTreeMap<TopicPartition, Offset>,
    before: &BTreeMap<TopicPartition, Offset>,
    arguments: &ResetArguments,
    output: &mut Output,
) -> Outcome {
    if arguments.export {
        for (partition, offset) in plan {
            output.line(format_args!("{},{},{offset}", partition.topic, partition.partition))?;
        }
        return Ok(());
    }
    if arguments.style.json {
        let rows = plan.iter().map(|(partition, offset)| {
            json!({
                "group": &**group,
                "topic": &*partition.topic,
                "partition": partition.partition.get(),
                "before": before.get(partition).map(|it| it.get()),
                "offset": offset.get(),
                "done": arguments.execute,
            })
        });
        return output.json(&rows.collect());
    }
    let rows = plan.iter().map(|(partition, offset)| {
        let before = before.get(partition).map_or_else(|| "-".to_owned(), |it| it.to_string());
        [
            group.to_string(),
            partition.topic.to_string(),
            partition.partition.to_string(),
            before,
            offset.to_string(),
        ]
    });
    output.table(&["group", "topic", "partition", "before", "new offset"], rows)?;
    if !arguments.execute {
        output::remark("Nothing was changed; --execute does it.");
    }
    Ok(())
}

/// `YYYY-MM-DDTHH:mm:SS[.sss][Z|±HH[:]mm]`, in UTC if it does not say otherwise, as Kafka's tool has it.
fn parse_datetime(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once('T')?;
    let (time, shift_minutes) = match time.find(['Z', '+', '-']) {
        None => (time, 0),
        Some(at) => (&time[..at], parse_shift(&time[at..])?),
    };
    let numbers = |text: &str, between: char| {
        let parts = text.split(between);
        parts.map(|it| it.parse::<i64>().ok().filter(|_| it.bytes().all(|it| it.is_ascii_digit()))).collect()
    };
    let date: Option<Vec<i64>> = numbers(date, '-');
    let (clock, millis) = match time.split_once('.') {
        None => (time, 0),
        Some((clock, fraction)) => {
            let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
            let plain = !fraction.is_empty() && fraction.bytes().all(|it| it.is_ascii_digit());
            (clock, digits.parse::<i64>().ok().filter(|_| plain)?)
        }
    };
    let clock: Option<Vec<i64>> = numbers(clock, ':');
    let ([year, month, day], [hour, minute, second]) =
        (date?[..].try_into().ok()?, clock?[..].try_into().ok()?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1970..=9999).contains(&year)
        || !(1..=longest).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let minutes = days_since_1970(year, month, day) * 1440 + hour * 60 + minute - shift_minutes;
    Some(Timestamp((minutes * 60 + second) * 1000 + millis)).filter(|it| it.0 >= 0)
}

/// Minutes east of UTC.
fn parse_shift(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits: String = text[1..].chars().filter(|it| *it != ':').collect();
    let plain = digits.bytes().all(|it| it.is_ascii_digit());
    let (hours, minutes) = match digits.len() {
        2 if plain => (digits.parse::<i64>().ok()?, 0),
        4 if plain => (digits[..2].parse::<i64>().ok()?, digits[2..].parse::<i64>().ok()?),
        _ => return None,
    };
    (hours <= 18 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

/// Days of the Gregorian calendar, with March as the first month of a year, so that the leap day is its last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let cases = [
            ("1970-01-01T00:00:00.000", 0),
            ("2000-02-29T12:34:56.789", 951_827_696_789),
            ("2026-11-29T08:00:00", 1_795_939_200_000),
            ("2026-11-29T08:00:00.5Z", 1_795_939_200_500),
            ("2026-11-29T09:00:00.000+01:00", 1_795_939_200_000),
            ("2026-11-29T03:30:00.000-0430", 1_795_939_200_000),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_datetime(text), Some(Timestamp(expected)), "{text}");
        }
        for wrong in [
            "",
            "2026-11-29",
            "2026-11-29T",
            "2026-13-01T00:00:00",
            "2026-02-29T00:00:00",
            "2026-01-01T24:00:00",
            "2026-01-01T00:00",
            "2026-01-01T00:00:00.",
            "2026-01-01T00:00:00+1",
            "-1-01-01T00:00:00",
        ] {
            assert_eq!(parse_datetime(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn where_a_partition_goes() {
        let partition = TopicPartition::new("orders", 0);
        let known = Known {
            first: Offset(10),
            end: Offset(100),
            committed: Some(Offset(50)),
            since: Some(Offset(70)),
        };
        let plan = BTreeMap::from([(partition.clone(), Offset(5))]);
        let cases = [
            (Scenario::Earliest, 10),
            (Scenario::Latest, 100),
            (Scenario::Current, 50),
            (Scenario::Offset(60), 60),
            (Scenario::Offset(1), 10),
            (Scenario::Offset(1000), 100),
            (Scenario::Shift(-20), 30),
            (Scenario::Shift(i64::MAX), 100),
            (Scenario::Since(Timestamp(1)), 70),
            (Scenario::Plan(plan), 10),
        ];
        for (scenario, expected) in cases {
            assert_eq!(planned(&scenario, &partition, known).unwrap(), Offset(expected), "{scenario:?}");
        }
        let nothing = Known { committed: None, since: None, ..known };
        assert_eq!(planned(&Scenario::Current, &partition, nothing).unwrap(), Offset(100));
        assert_eq!(planned(&Scenario::Since(Timestamp(1)), &partition, nothing).unwrap(), Offset(100));
        assert!(planned(&Scenario::Shift(1), &partition, nothing).is_err());
    }

    #[test]
    fn files_of_offsets() {
        let plan =
            parse_plan("orders,0,5\n\n\"orders\",1,6\nmine,bills,2,7\nother,bills,3,8\n", "mine").unwrap();
        let expected = [("bills", 2, 7), ("orders", 0, 5), ("orders", 1, 6)];
        let expected =
            expected.map(|(topic, index, offset)| (TopicPartition::new(topic, index), Offset(offset)));
        assert_eq!(plan, BTreeMap::from(expected));
        for wrong in ["orders", "orders,x,1", "orders,-1,1", "orders,1,x", "a,b,c,d,e"] {
            assert!(parse_plan(wrong, "mine").is_err(), "{wrong}");
        }
    }
}
