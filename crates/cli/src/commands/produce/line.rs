//! What a line says about a record.

use bytes::Bytes;
use ottla_base::{Str, Timestamp};
use ottla_client::{ProducerRecord, parse_assignment};
use serde_json::Value;

use super::ProduceArguments;
use crate::failure::{Failure, Outcome};
use crate::output::bytes_of_json;

/// A header.
type Header = (Str, Option<Bytes>);

/// How lines are read.
#[derive(Debug, Default)]
pub(super) struct LineFormat {
    key_separator: Option<Vec<u8>>,
    headers: bool,
    json: bool,
    null_marker: Option<Vec<u8>>,
    /// The headers of every record.
    every: Vec<Header>,
}

impl LineFormat {
    pub(super) fn new(arguments: &ProduceArguments) -> Outcome<LineFormat> {
        let header = |text: &String| {
            let (name, value) =
                parse_assignment(text).map_err(|error| Failure::misuse(format!("--header: {error}")))?;
            Ok((Str::from(name.as_str()), Some(Bytes::from(value))))
        };
        if arguments.key_separator.as_deref() == Some("") {
            return Err(Failure::misuse("--key-separator is empty").advice("--key-separator :"));
        }
        Ok(LineFormat {
            key_separator: arguments.key_separator.as_ref().map(|it| it.clone().into_bytes()),
            headers: arguments.headers,
            json: arguments.json,
            null_marker: arguments.null_marker.as_ref().map(|it| it.clone().into_bytes()),
            every: arguments.header.iter().map(header).collect::<Outcome<_>>()?,
        })
    }

    /// The record of a line, without topic and partition.
    pub(super) fn record(&self, line: Vec<u8>) -> Outcome<ProducerRecord> {
        let mut record = if self.json { json_record(&line)? } else { self.plain_record(Bytes::from(line))? };
        record.headers.extend(self.every.iter().cloned());
        Ok(record)
    }

    fn plain_record(&self, mut rest: Bytes) -> Outcome<ProducerRecord> {
        let mut record = ProducerRecord::default();
        if self.headers {
            let headers = cut(&mut rest, b"\t").ok_or_else(|| {
                Failure::new("no tab ends the headers").advice("begin lines with name:value and a tab")
            })?;
            record.headers = read_headers(&headers)?;
        }
        if let Some(separator) = &self.key_separator {
            let key = cut(&mut rest, separator).ok_or_else(|| {
                let separator = String::from_utf8_lossy(separator);
                Failure::new(format!("there is no {separator:?} between key and value"))
                    .advice("write key and value in every line, or leave --key-separator out")
            })?;
            record.key = self.unless_null(key);
        }
        record.value = self.unless_null(rest);
        Ok(record)
    }

    fn unless_null(&self, bytes: Bytes) -> Option<Bytes> {
        (self.null_marker.as_deref() != Some(&*bytes)).then_some(bytes)
    }
}

/// Takes what is before `separator`, and the separator.
fn cut(rest: &mut Bytes, separator: &[u8]) -> Option<Bytes> {
    let at = rest.windows(separator.len()).position(|it| it == separator)?;
    let before = rest.split_to(at);
    let _ = rest.split_to(separator.len());
    Some(before)
}

/// Reads `name:value,name:value`.
fn read_headers(bytes: &Bytes) -> Outcome<Vec<Header>> {
    let mut headers = Vec::new();
    for part in bytes.split(|it| *it == b',').filter(|it| !it.is_empty()) {
        let colon = part.iter().position(|it| *it == b':');
        let (name, value) = match colon {
            Some(at) => (&part[..at], Some(bytes.slice_ref(&part[at + 1..]))),
            None => (part, None),
        };
        let name = std::str::from_utf8(name).map_err(|_| {
            Failure::new(format!("the header {:?} is not text", String::from_utf8_lossy(name)))
        })?;
        headers.push((Str::from(name), value));
    }
    Ok(headers)
}

/// Reads what `consume --json` prints.
fn json_record(line: &[u8]) -> Outcome<ProducerRecord> {
    let value: Value = serde_json::from_slice(line).map_err(|error| {
        Failure::new(format!("not JSON: {error}")).advice("leave --json out for plain lines")
    })?;
    let wrong = |name: &str| Failure::new(format!("{name} is neither text nor {{\"base64\": …}}"));
    let part = |value: &Value, name: &str| {
        let bytes = bytes_of_json(value.get(name).unwrap_or(&Value::Null)).ok_or_else(|| wrong(name))?;
        Ok(bytes.map(Bytes::from))
    };
    let mut record = ProducerRecord {
        key: part(&value, "key")?,
        value: part(&value, "value")?,
        timestamp: value.get("timestamp").and_then(Value::as_i64).map(Timestamp),
        ..ProducerRecord::default()
    };
    for header in value.get("headers").and_then(Value::as_array).into_iter().flatten() {
        let name = header.get("name").and_then(Value::as_str).ok_or_else(|| wrong("the name of a header"))?;
        record.headers.push((Str::from(name), part(header, "value")?));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: &LineFormat, line: &str) -> Result<String, String> {
        let record = format.record(line.as_bytes().to_vec()).map_err(|it| it.message().to_owned())?;
        let text = |it: &Option<Bytes>| {
            it.as_ref().map_or("-".into(), |it| String::from_utf8_lossy(it).into_owned())
        };
        let headers: Vec<String> =
            record.headers.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
        Ok(format!("[{}] {} {}", headers.join(" "), text(&record.key), text(&record.value)))
    }

    fn format(key_separator: Option<&str>, headers: bool) -> LineFormat {
        LineFormat {
            key_separator: key_separator.map(|it| it.as_bytes().to_vec()),
            headers,
            null_marker: Some(b"NULL".to_vec()),
            ..LineFormat::default()
        }
    }

    #[test]
    fn a_line_is_a_value_or_more() {
        assert_eq!(check(&format(None, false), "a:b").unwrap(), "[] - a:b");
        assert_eq!(check(&format(None, false), "").unwrap(), "[] - ");
        assert_eq!(check(&format(None, false), "NULL").unwrap(), "[] - -");
        assert_eq!(check(&format(Some("::"), false), "k::v::w").unwrap(), "[] k v::w");
        assert_eq!(check(&format(Some(":"), false), ":v").unwrap(), "[]  v");
        assert_eq!(check(&format(Some(":"), false), "k:NULL").unwrap(), "[] k -");
        assert!(check(&format(Some(":"), false), "kv").is_err());
        assert_eq!(check(&format(Some("\t"), true), "a:1,b:,c\tk\tv").unwrap(), "[a=1 b= c=-] k v");
        assert_eq!(check(&format(None, true), "\tv").unwrap(), "[] - v");
        assert!(check(&format(None, true), "v").is_err());
    }

    #[test]
    fn a_line_of_json_is_what_consume_prints() {
        let json = LineFormat { json: true, ..LineFormat::default() };
        let line = r#"{"topic":"t","offset":3,"timestamp":5,"key":"k","value":{"base64":"AQI="},"headers":[{"name":"a","value":null}]}"#;
        let record = json.record(line.as_bytes().to_vec()).unwrap();
        assert_eq!(record.value.as_deref(), Some(&[1, 2][..]));
        assert_eq!(record.timestamp, Some(Timestamp(5)));
        assert_eq!(record.headers, [(Str::from("a"), None)]);
        assert_eq!(check(&json, r#"{"value":null}"#).unwrap(), "[] - -");
        assert!(check(&json, r#"{"value":1}"#).is_err());
        assert!(check(&json, "plain").is_err());
    }
}
