//! Why a group shared out anew: what only Ottla's brokers keep, and tell over HTTP.

use std::io::IoSlice;
use std::time::Duration;

use bytes::BytesMut;
use ottla_base::Str;
use ottla_client::admin::{Admin, ConfigResource, GroupDescription, ResourceType};
use ottla_host::net::{SocketOptions, Stream};
use serde_json::Value;

use crate::commands::client::explain;
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// How much is read at once.
const READ_BYTES: usize = 16 << 10;
/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where a broker's metrics are, among its settings.
const LISTENER: &str = "ottla.metrics.listener";
const ADVICE: &str = "--metrics-url http://HOST:PORT names the metrics address of the group's coordinator";

/// The last rebalances of a group, as its coordinator tells them.
pub(super) async fn rebalances(admin: &Admin, group: &GroupDescription, url: Option<&str>) -> Outcome<Value> {
    let address = match url {
        Some(url) => address_of(url)?,
        None => derived(admin, group).await?,
    };
    let path = format!("/groups/{}/rebalances", encoded(&group.id));
    let host = admin.cluster().host();
    let answer = match host.timeout(PATIENCE, get(&address, &path)).await {
        Ok(answer) => {
            answer.map_err(|error| Failure::new(format!("http://{address}{path}: {error}")).advice(ADVICE))?
        }
        Err(_) => return Err(Failure::new(format!("http://{address}{path}: no answer")).advice(ADVICE)),
    };
    let (status, body) = parts_of(&answer)
        .ok_or_else(|| Failure::new(format!("http://{address}{path}: that is no answer of HTTP's")))?;
    if status != 200 {
        let message =
            format!("http://{address}{path}: status {status}; does an Ottla broker coordinate the group?");
        return Err(Failure::new(message).advice(ADVICE));
    }
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Failure::new(format!("http://{address}{path}: {error}")))?;
    Ok(match value {
        Value::Object(mut fields) if fields.get("rebalances").is_some_and(Value::is_array) => {
            fields.remove("rebalances").unwrap_or_default()
        }
        value => value,
    })
}

/// Prints rebalances, the fields as the broker names them.
pub(super) fn show(rebalances: &Value, output: &mut Output) -> Outcome {
    let Some(all) = rebalances.as_array().filter(|it| !it.is_empty()) else {
        return output.line("No rebalance is remembered: the coordinator has had the group without one.");
    };
    // How a rebalance ended is told beside how it began.
    let flat: Vec<Value> = all.iter().map(flattened).collect();
    let all = &flat;
    let mut header: Vec<&str> = Vec::new();
    for name in all.iter().filter_map(Value::as_object).flat_map(|it| it.keys()) {
        if !header.contains(&name.as_str()) {
            header.push(name);
        }
    }
    let cell = |value: Option<&Value>| match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let rows = all.iter().map(|it| header.iter().map(|name| cell(it.get(name))).collect::<Vec<_>>());
    let named: Vec<String> = header.iter().map(|it| it.replace('_', " ")).collect();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    output.table(&named, rows)
}

/// An object with the fields of the objects in it.
fn flattened(value: &Value) -> Value {
    let mut flat = serde_json::Map::new();
    for (name, field) in value.as_object().into_iter().flatten() {
        match field {
            Value::Object(fields) => flat.extend(fields.clone()),
            field => drop(flat.insert(name.clone(), field.clone())),
        }
    }
    Value::Object(flat)
}

/// `host:port` of a URL.
fn address_of(url: &str) -> Outcome<String> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let address = rest.split('/').next().unwrap_or_default();
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() && !rest.contains("://") => {
            Ok(address.to_owned())
        }
        _ => Err(Failure::misuse(format!("--metrics-url {url} is not of the form http://HOST:PORT"))),
    }
}

/// Where the coordinator says that its metrics are. A listener for all addresses is asked for where clients connect.
async fn derived(admin: &Admin, group: &GroupDescription) -> Outcome<String> {
    let resource =
        ConfigResource { kind: ResourceType::Broker, name: Str::from(group.coordinator.to_string()) };
    let described = Box::pin(admin.describe_configs(&[resource], Some(&[LISTENER.into()]))).await;
    let described = described.map_err(explain)?;
    let entries = described.into_iter().filter_map(|(_, it)| it.ok()).flatten();
    let listener = entries.filter(|it| it.name == LISTENER).find_map(|it| it.value);
    let listener = listener.as_deref().and_then(|it| it.split(',').next()).unwrap_or_default();
    let unknown = || {
        let message = format!("broker {} does not tell where its metrics are", group.coordinator);
        Failure::new(message).advice(ADVICE)
    };
    let (host, port) = listener.rsplit_once(':').ok_or_else(unknown)?;
    let port: u16 = port.parse().ok().filter(|it| *it > 0).ok_or_else(unknown)?;
    let anywhere = matches!(host, "" | "0.0.0.0" | "[::]");
    let metadata = admin.cluster().metadata();
    let broker = metadata.brokers.get(&group.coordinator);
    let host = match (anywhere, broker) {
        (true, Some(broker)) => broker.host.to_string(),
        (true, None) => return Err(unknown()),
        (false, _) => host.to_owned(),
    };
    Ok(format!("{host}:{port}"))
}

async fn get(address: &str, path: &str) -> std::io::Result<BytesMut> {
    let (name, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let port = port.parse().map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for socket in ottla_host::net::resolve(name, port).await? {
        let mut stream = match Stream::connect(socket, SocketOptions::default()).await {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all_vectored(&mut [IoSlice::new(request.as_bytes())]).await?;
        let mut answer = BytesMut::new();
        loop {
            answer.reserve(READ_BYTES);
            if stream.read(&mut answer).await? == 0 || answer.len() > MAX_ANSWER_BYTES {
                return Ok(answer);
            }
        }
    }
    Err(last)
}

/// Status and body of an answer that ends with its connection.
fn parts_of(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n")?;
    let line = std::str::from_utf8(answer[..end].split(|it| *it == b'\r').next()?).ok()?;
    let status = line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, &answer[end + 4..]))
}

/// A name as part of a path.
fn encoded(name: &str) -> String {
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"-._~".contains(&it);
    let bytes =
        name.bytes().map(|it| if plain(it) { char::from(it).to_string() } else { format!("%{it:02X}") });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_answers_and_names() {
        assert_eq!(address_of("http://one:9404/metrics").unwrap(), "one:9404");
        assert_eq!(address_of("one:9404").unwrap(), "one:9404");
        for wrong in ["", "one", "https://one:1", ":1", "one:x"] {
            assert!(address_of(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parts_of(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n[]"), Some((200, &b"[]"[..])));
        assert_eq!(parts_of(b"HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(encoded("a/b c\u{e9}"), "a%2Fb%20c%C3%A9");
    }

    #[test]
    fn whatever_fields_a_broker_tells_are_shown() {
        let mut output = Output::in_memory();
        let told = serde_json::json!([{"at": 1, "cause": "x"}, {"at": 2, "took_ms": 3}]);
        show(&told, &mut output).unwrap();
        let expected = "AT  CAUSE  TOOK MS\n1   x      -\n2   -      3\n";
        assert_eq!(output.text(), expected);
    }
}
