//! What keys and values of records mean: those of internal topics as their fields, others as text.

use std::path::Path;

use bytes::Bytes;
use clap::ValueEnum;
use ottla_record::ControlType;
use ottla_storage::file_names::parse_directory_name;
use ottla_wire::records::consumer_protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use ottla_wire::records::control::{
    EndTxnMarker, KRaftVersionRecord, LeaderChangeMessage, SnapshotFooterRecord, SnapshotHeaderRecord,
    VotersRecord,
};
use ottla_wire::records::group::{GroupKey, GroupValue};
use ottla_wire::records::metadata::MetadataRecord;
use ottla_wire::records::remote_log::RemoteLogRecord;
use ottla_wire::records::share::{ShareKey, ShareValue};
use ottla_wire::records::transaction::{TransactionKey, TransactionValue};
use ottla_wire::{
    DecodeError, Describe, Description, Message, Reader, TypedRecord, decode_consumer_protocol,
    decode_coordinator_key, decode_coordinator_value, decode_metadata_record,
};
use serde_json::{Map, Value, json};

use crate::output::{base64, bytes_as_json as text};

/// What the records of a log are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Decoder {
    /// What the name of the directory says
    Auto,
    /// Text
    None,
    /// The metadata log
    Metadata,
    /// __consumer_offsets
    Groups,
    /// __transaction_state
    Transactions,
    /// __share_group_state
    Share,
    /// __remote_log_metadata
    RemoteLog,
}

impl Decoder {
    /// What is asked for, or what the directory of a segment says.
    pub(super) fn for_file(self, path: &Path) -> Decoder {
        if self != Decoder::Auto {
            return self;
        }
        let directory = path.parent().and_then(Path::file_name).and_then(|it| it.to_str());
        let topic = directory.and_then(parse_directory_name).map(|(partition, _)| partition.topic);
        match topic.as_deref() {
            Some("__cluster_metadata") => Decoder::Metadata,
            Some("__consumer_offsets") => Decoder::Groups,
            Some("__transaction_state") => Decoder::Transactions,
            Some("__share_group_state") => Decoder::Share,
            Some("__remote_log_metadata") => Decoder::RemoteLog,
            _ => Decoder::None,
        }
    }

    /// The meaning of a record: fields to be shown, and what is wrong with it.
    pub(super) fn read(
        self,
        key: Option<Bytes>,
        value: Option<Bytes>,
    ) -> (Map<String, Value>, Option<String>) {
        let mut fields = Map::new();
        let read = match self {
            Decoder::Auto | Decoder::None => {
                if let Some(key) = &key {
                    fields.insert("key".to_owned(), text(key));
                }
                if let Some(value) = &value {
                    fields.insert("payload".to_owned(), text(value));
                }
                Ok(())
            }
            Decoder::Metadata => read_framed::<MetadataRecord>(value, &mut fields, MetadataRecord::name),
            Decoder::RemoteLog => read_framed::<RemoteLogRecord>(value, &mut fields, RemoteLogRecord::name),
            Decoder::Groups => read_keyed::<GroupKey, GroupValue>(key, value, &mut fields, GroupKey::name),
            Decoder::Transactions => {
                read_keyed::<TransactionKey, TransactionValue>(key, value, &mut fields, TransactionKey::name)
            }
            Decoder::Share => read_keyed::<ShareKey, ShareValue>(key, value, &mut fields, ShareKey::name),
        };
        let problem = read.err().map(|error| error.to_string());
        if self == Decoder::Groups && problem.is_none() {
            open_member_blobs(&mut fields);
        }
        (fields, problem)
    }
}

/// A record with type and version in front of it.
fn read_framed<R: TypedRecord + Describe>(
    value: Option<Bytes>,
    fields: &mut Map<String, Value>,
    name: fn(&R) -> &'static str,
) -> Result<(), DecodeError> {
    let (record, version) = decode_metadata_record::<R>(value.unwrap_or_default())?;
    let shown = json!({
        "type": upper_snake(name(&record)),
        "version": version,
        "data": as_json(record.describe(version)),
    });
    fields.insert("payload".to_owned(), shown);
    Ok(())
}

/// A record whose key says what its value is.
fn read_keyed<K: TypedRecord + Describe, V: TypedRecord + Describe>(
    key: Option<Bytes>,
    value: Option<Bytes>,
    fields: &mut Map<String, Value>,
    name: fn(&K) -> &'static str,
) -> Result<(), DecodeError> {
    let key = decode_coordinator_key::<K>(key.ok_or(DecodeError::Null)?)?;
    let shown = json!({
        "type": key.record_type().to_string(),
        "name": name(&key),
        "data": as_json(key.describe(0)),
    });
    fields.insert("key".to_owned(), shown);
    let shown = match value {
        None => json!("<DELETE>"),
        Some(value) => {
            let (value, version) = decode_coordinator_value::<V>(key.record_type(), value)?;
            json!({"version": version.to_string(), "data": as_json(value.describe(version))})
        }
    };
    fields.insert("payload".to_owned(), shown);
    Ok(())
}

/// Members of classic consumer groups bring blobs of a protocol of their own.
fn open_member_blobs(fields: &mut Map<String, Value>) {
    let Some(data) = fields.get_mut("payload").and_then(|it| it.get_mut("data")) else { return };
    if data.get("protocolType").and_then(Value::as_str) != Some("consumer") {
        return;
    }
    let members = data.get_mut("members").and_then(Value::as_array_mut);
    for member in members.into_iter().flatten().filter_map(Value::as_object_mut) {
        open_blob::<ConsumerProtocolSubscription>(member, "subscription");
        open_blob::<ConsumerProtocolAssignment>(member, "assignment");
    }
}

fn open_blob<M: Message + Describe>(member: &mut Map<String, Value>, name: &str) {
    let Some(blob) = member.get(name).and_then(Value::as_str).and_then(base64::decode) else { return };
    // Other kinds of members bring other blobs; those stay as they are.
    if let Ok((message, version)) = decode_consumer_protocol::<M>(Bytes::from(blob)) {
        let version = version.min(M::LAST_VERSION);
        member.insert(name.to_owned(), as_json(message.describe(version)));
    }
}

/// What a control record says, under the name that `kafka-dump-log` gives it.
pub(super) fn control(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Map<String, Value>, String> {
    let kind = ControlType::of_key(key).map_err(|error| error.to_string())?;
    let value = Bytes::copy_from_slice(value.unwrap_or_default());
    let mut fields = Map::new();
    let mut add = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    match kind {
        ControlType::Abort | ControlType::Commit => {
            let name = if kind == ControlType::Commit { "COMMIT" } else { "ABORT" };
            let mut reader = Reader::new(value);
            let marker = reader.i16().and_then(|_| EndTxnMarker::decode(&mut reader, 0));
            let marker = marker.map_err(|error| error.to_string())?;
            add("endTxnMarker", json!(name));
            add("coordinatorEpoch", json!(marker.coordinator_epoch));
        }
        ControlType::LeaderChange => add("LeaderChange", said::<LeaderChangeMessage>(value)?),
        ControlType::SnapshotHeader => add("SnapshotHeader", said::<SnapshotHeaderRecord>(value)?),
        ControlType::SnapshotFooter => add("SnapshotFooter", said::<SnapshotFooterRecord>(value)?),
        ControlType::KraftVersion => add("KRaftVersion", said::<KRaftVersionRecord>(value)?),
        ControlType::KraftVoters => add("KRaftVoters", said::<VotersRecord>(value)?),
        ControlType::Unknown(id) => add("controlType", json!(format!("UNKNOWN({id})"))),
    }
    Ok(fields)
}

/// A record of the quorum, whose first field is its version.
fn said<M: Message + Describe>(value: Bytes) -> Result<Value, String> {
    let version = Reader::new(value.clone()).i16().map_err(|error| error.to_string())?;
    let version = version.clamp(M::FIRST_VERSION, M::LAST_VERSION);
    let message = M::decode(&mut Reader::new(value), version).map_err(|error| error.to_string())?;
    Ok(as_json(message.describe(version)))
}

/// What a description is in Kafka's JSON.
fn as_json(description: Description) -> Value {
    match description {
        Description::Null => Value::Null,
        Description::Bool(yes) => json!(yes),
        Description::Number(number) => json!(number),
        Description::Float(number) => json!(number),
        Description::Text(text) => json!(&*text),
        Description::Bytes(bytes) => json!(base64::encode(&bytes)),
        Description::Uuid(id) => json!(id.to_string()),
        Description::List(values) => values.into_iter().map(as_json).collect(),
        Description::Fields(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), as_json(value))).collect())
        }
    }
}

/// `RegisterBrokerRecord` → `REGISTER_BROKER_RECORD`.
fn upper_snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_uppercase());
    }
    snake
}
