//! Checks that are more than a range or a set of texts.

use ottla_base::settings::address;
use ottla_base::settings::{Check, InvalidSetting, Value, custom};

/// What gzip takes as a level.
pub(super) const GZIP_LEVEL: Check = custom(refuse_gzip_level, "[1,...,9] or -1");
/// `controller.quorum.voters`.
pub(super) const QUORUM_VOTERS: Check = custom(refuse_voters, "non-empty list");
/// `controller.quorum.bootstrap.servers`.
pub(super) const QUORUM_BOOTSTRAP_SERVERS: Check = custom(refuse_bootstrap_servers, "non-empty list");
/// Where a share group begins to read.
pub(super) const SHARE_OFFSET_RESET: Check =
    custom(refuse_offset_reset, "[latest, earliest, by_duration:PnDTnHnMn.nS]");
/// Which replicas are throttled.
pub(super) const THROTTLED_REPLICAS: Check =
    custom(refuse_throttled_replicas, "[partitionId]:[brokerId],[partitionId]:[brokerId],...");

fn refuse_gzip_level(name: &str, value: Option<&Value>) -> Result<(), InvalidSetting> {
    match value {
        Some(Value::Int(-1 | 1..=9)) => Ok(()),
        Some(other) => {
            Err(InvalidSetting::value(name, other, "Value must be between 1 and 9 or equal to -1"))
        }
        None => Err(InvalidSetting::value(name, "null", "Value must be non-null")),
    }
}

/// A voter of the fixed set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// Its node id.
    pub id: i32,
    /// Its host, possibly `0.0.0.0`.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Reads one entry of `controller.quorum.voters`.
pub fn parse_voter(entry: &str) -> Result<Voter, InvalidSetting> {
    const NAME: &str = "controller.quorum.voters";
    const FORM: &str = "Each entry should be in the form `{id}@{host}:{port}`.";
    let Some((id, place)) = entry.split_once('@').filter(|(_, place)| !place.contains('@')) else {
        return Err(InvalidSetting::new(format!("Invalid configuration value for {NAME}. {FORM}")));
    };
    let id = id
        .parse()
        .map_err(|_| InvalidSetting::new(format!("Failed to parse voter ID as an integer from {id}")))?;
    let Some((_, host, port)) = address::split(place) else {
        return Err(InvalidSetting::new(format!(
            "Failed to parse host name from entry {entry} for the configuration {NAME}. {FORM}"
        )));
    };
    let Ok(port) = u16::try_from(port) else {
        return Err(InvalidSetting::new(format!("port out of range:{port}")));
    };
    Ok(Voter { id, host: host.to_owned(), port })
}

fn refuse_voters(name: &str, value: Option<&Value>) -> Result<(), InvalidSetting> {
    let Some(entries) = value.and_then(Value::as_list) else {
        return Err(InvalidSetting::value(name, "null", ""));
    };
    entries.iter().try_for_each(|entry| parse_voter(entry).map(drop))
}

fn refuse_bootstrap_servers(name: &str, value: Option<&Value>) -> Result<(), InvalidSetting> {
    let Some(entries) = value.and_then(Value::as_list) else {
        return Err(InvalidSetting::value(name, "null", ""));
    };
    for entry in entries {
        if address::split(entry).is_none_or(|(_, _, port)| u16::try_from(port).is_err()) {
            return Err(InvalidSetting::new(format!(
                "Failed to parse host name from {entry} for the configuration {name}. Each entry should be \
                 in the form \"{{host}}:{{port}}\""
            )));
        }
    }
    Ok(())
}

fn refuse_throttled_replicas(name: &str, value: Option<&Value>) -> Result<(), InvalidSetting> {
    let entries = value.and_then(Value::as_list).unwrap_or_default();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let is_replica = |entry: &str| {
        entry.is_empty() || entry.split_once(':').is_some_and(|(a, b)| is_number(a) && is_number(b))
    };
    if entries.iter().all(|entry| is_replica(entry.trim()))
        || entries.iter().map(|entry| entry.trim()).collect::<String>() == "*"
    {
        return Ok(());
    }
    let shown = format!("[{}]", entries.join(", "));
    let reason = format!(
        "{name} must be the literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],..."
    );
    Err(InvalidSetting::value(name, shown, &reason))
}

fn refuse_offset_reset(name: &str, value: Option<&Value>) -> Result<(), InvalidSetting> {
    let text = value.and_then(Value::as_text).unwrap_or_default();
    let known = match text.split_once(':') {
        None => matches!(text, "latest" | "earliest"),
        Some(("by_duration", duration)) => duration_ms(duration).is_some_and(|it| it >= 0),
        Some(_) => false,
    };
    if known {
        return Ok(());
    }
    let reason = format!(
        "Invalid value `{text}` for configuration {name}. The value must be either 'earliest', 'latest' or \
         of the format 'by_duration:<PnDTnHnMn.nS>'."
    );
    Err(InvalidSetting::value(name, text, &reason))
}

/// Milliseconds of an ISO 8601 duration of days, hours, minutes and seconds, as `java.time.Duration.parse`
/// reads it.
pub fn duration_ms(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let body = text.strip_prefix(['P', 'p'])?;
    let (days, time) = match body.find(['T', 't']) {
        Some(at) if at + 1 == body.len() => return None,
        Some(at) => (&body[..at], &body[at + 1..]),
        None => (body, ""),
    };
    let mut total: i64 = 0;
    let mut parts = 0;
    for (part, units) in
        [(days, &[('D', 86_400_000)][..]), (time, &[('H', 3_600_000), ('M', 60_000), ('S', 1000)])]
    {
        let mut rest = part;
        for (unit, factor) in units {
            let Some(at) = rest.find([*unit, unit.to_ascii_lowercase()]) else { continue };
            total = total.checked_add(scaled(&rest[..at], *factor, *unit == 'S')?)?;
            rest = &rest[at + 1..];
            parts += 1;
        }
        if !rest.is_empty() {
            return None;
        }
    }
    if parts == 0 { None } else { total.checked_mul(sign) }
}

/// `number × factor`, where seconds may have a fraction.
fn scaled(number: &str, factor: i64, fractional: bool) -> Option<i64> {
    let (whole, fraction) = match number.split_once(['.', ',']) {
        Some((whole, fraction)) if fractional => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    let whole_ms = whole.parse::<i64>().ok()?.checked_mul(factor)?;
    if fraction.len() > 9 || !fraction.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let millis: i64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    whole_ms.checked_add(if whole.starts_with('-') { -millis } else { millis })
}
