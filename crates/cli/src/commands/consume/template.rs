//! How a record is printed: `--format`, and the JSON of `--json`.

use ottla_base::{LeaderEpoch, Str};
use ottla_client::ConsumedRecord;
use ottla_record::TimestampType;
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::output::bytes_as_json;

/// Text around parts of records.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    KeySize,
    Value,
    ValueSize,
    Headers,
}

impl Template {
    /// Reads a format: `%t` and the like, `%%`, and `\n`, `\t`, `\r`, `\0`, `\xHH`, `\\`.
    pub(super) fn parse(text: &str) -> Outcome<Template> {
        let mut pieces = Vec::new();
        let mut plain = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let piece = match letter {
                '%' => match letters.next() {
                    Some('%') => {
                        plain.push(b'%');
                        continue;
                    }
                    other => placeholder(other, text)?,
                },
                '\\' => {
                    plain.extend(escaped(&mut letters, text)?);
                    continue;
                }
                other => {
                    plain.extend(other.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece);
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Template(pieces))
    }

    /// Appends a record to `to`.
    pub(super) fn print(&self, topic: &str, partition: i32, record: &ConsumedRecord<'_>, to: &mut Vec<u8>) {
        let size = |bytes: Option<&[u8]>| bytes.map_or_else(|| "-1".to_owned(), |it| it.len().to_string());
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => to.extend_from_slice(text),
                Piece::Topic => to.extend_from_slice(topic.as_bytes()),
                Piece::Partition => to.extend_from_slice(partition.to_string().as_bytes()),
                Piece::Offset => to.extend_from_slice(record.offset.to_string().as_bytes()),
                Piece::Timestamp => to.extend_from_slice(record.timestamp.to_string().as_bytes()),
                Piece::Key => to.extend_from_slice(record.key.unwrap_or_default()),
                Piece::KeySize => to.extend_from_slice(size(record.key).as_bytes()),
                Piece::Value => to.extend_from_slice(record.value.unwrap_or_default()),
                Piece::ValueSize => to.extend_from_slice(size(record.value).as_bytes()),
                Piece::Headers => {
                    for (at, header) in record.headers.enumerate() {
                        if at > 0 {
                            to.push(b',');
                        }
                        to.extend_from_slice(header.key);
                        to.push(b'=');
                        to.extend_from_slice(header.value.unwrap_or(b"NULL"));
                    }
                }
            }
        }
    }
}

fn placeholder(letter: Option<char>, text: &str) -> Outcome<Piece> {
    Ok(match letter {
        Some('t') => Piece::Topic,
        Some('p') => Piece::Partition,
        Some('o') => Piece::Offset,
        Some('T') => Piece::Timestamp,
        Some('k') => Piece::Key,
        Some('K') => Piece::KeySize,
        Some('v' | 's') => Piece::Value,
        Some('V' | 'S') => Piece::ValueSize,
        Some('h') => Piece::Headers,
        other => {
            let shown = other.map(String::from).unwrap_or_default();
            return Err(Failure::misuse(format!("--format {text:?}: %{shown} means nothing"))
                .advice("%t %p %o %T %k %v %h, %K and %V for sizes, %% for a percent sign"));
        }
    })
}

fn escaped(letters: &mut std::str::Chars<'_>, text: &str) -> Outcome<Vec<u8>> {
    let wrong = || {
        Failure::misuse(format!(
            "--format {text:?}: a backslash stands before n, t, r, 0, xHH or a backslash"
        ))
    };
    Ok(match letters.next() {
        Some('n') => b"\n".to_vec(),
        Some('t') => b"\t".to_vec(),
        Some('r') => b"\r".to_vec(),
        Some('0') => b"\0".to_vec(),
        Some('\\') => b"\\".to_vec(),
        Some('x') => {
            let digits: String = letters.by_ref().take(2).collect();
            vec![u8::from_str_radix(&digits, 16).map_err(|_| wrong())?]
        }
        _ => return Err(wrong()),
    })
}

/// A record as JSON.
pub(super) fn as_json(topic: &Str, partition: i32, record: &ConsumedRecord<'_>) -> Value {
    let header = |name: &[u8], value: Option<&[u8]>| json!({"name": String::from_utf8_lossy(name), "value": value.map(bytes_as_json)});
    let timestamp_type = match record.timestamp_type {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    json!({
        "topic": &**topic,
        "partition": partition,
        "offset": record.offset.get(),
        "timestamp": record.timestamp.get(),
        "timestamp_type": timestamp_type,
        "leader_epoch": (record.leader_epoch != LeaderEpoch::NONE).then(|| record.leader_epoch.get()),
        "key": record.key.map(bytes_as_json),
        "value": record.value.map(bytes_as_json),
        "headers": record.headers.map(|it| header(it.key, it.value)).collect::<Value>(),
    })
}

#[cfg(test)]
mod tests {
    use ottla_base::{Offset, Timestamp};
    use ottla_record::{BatchBuilder, BatchOptions, BatchView};

    use super::*;

    /// Prints a record with two headers, at offset 5.
    fn print(format: &str) -> String {
        let options = BatchOptions { base_offset: Offset(5), ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        let header = |key, value| ottla_record::Header { key, value };
        builder.append(
            Timestamp(1_700_000_000_000),
            Some(b"key"),
            Some(b"value"),
            [header(b"a", Some(b"1")), header(b"b", None)].iter().copied(),
        );
        let bytes = builder.build();
        let batch = BatchView::new(&bytes).unwrap();
        let record = batch.records(batch.payload()).next().unwrap().unwrap();
        let record = ConsumedRecord {
            offset: record.offset,
            timestamp: record.timestamp,
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: LeaderEpoch(0),
            key: record.key,
            value: record.value,
            headers: record.headers,
        };
        let mut out = Vec::new();
        if format == "json" {
            return as_json(&"orders".into(), 2, &record).to_string();
        }
        Template::parse(format).unwrap().print("orders", 2, &record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_format_has_the_letters_of_kcat() {
        assert_eq!(
            print("%t-%p@%o %T %k(%K)=%v(%V) [%h]\\n"),
            "orders-2@5 1700000000000 key(3)=value(5) [a=1,b=NULL]\n"
        );
        assert_eq!(print("100%%\\t\\x41\\\\é%s"), "100%\tA\\évalue");
        assert_eq!(
            print("json"),
            r#"{"topic":"orders","partition":2,"offset":5,"timestamp":1700000000000,"timestamp_type":"CreateTime","leader_epoch":0,"key":"key","value":"value","headers":[{"name":"a","value":"1"},{"name":"b","value":null}]}"#
        );
    }

    #[test]
    fn other_letters_are_refused() {
        for wrong in ["%z", "%", "\\q", "\\", "\\xg0"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
