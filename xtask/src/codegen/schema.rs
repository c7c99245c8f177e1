//! The notation of `crates/wire/schema`: what Kafka's messages hold, a field a line.
//!
//! A message begins in the first column: `request ProduceRequest key=0 versions=3-13 flexible=9+`. A field is
//! indented under what it belongs to: `Name: []string 0+ null=1+ tag=0@2+ default=null key ignorable`.
//! `struct Name 0+` begins a structure that several fields of its message share.
//!
//! A request also says who answers it (`listeners=broker,controller`), whether its last version is not yet offered
//! (`unstable`), whether brokers pass it on (`forwardable`) and whether it needs the right to act for the cluster
//! (`cluster-action`). A response that is `streamed` gets views, so that it can be written straight from state.

use crate::workspace::Outcome;

/// A range of versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The first version.
    pub first: i16,
    /// The last version.
    pub last: i16,
}

impl Versions {
    /// No version at all.
    pub const NONE: Versions = Versions { first: 0, last: -1 };

    fn parse(text: &str) -> Outcome<Versions> {
        if text == "none" {
            return Ok(Versions::NONE);
        }
        if let Some(first) = text.strip_suffix('+') {
            return Ok(Versions { first: first.parse()?, last: i16::MAX });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Ok(Versions { first: first.parse()?, last: last.parse()? })
    }

    /// Whether there is no version in the range.
    pub fn is_empty(self) -> bool {
        self.last < self.first
    }

    /// Whether a version is in the range.
    pub fn has(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    /// The versions in both ranges.
    pub fn and(self, other: Versions) -> Versions {
        Versions { first: self.first.max(other.first), last: self.last.min(other.last) }
    }

    /// Whether every version of `other` is in this range.
    pub fn covers(self, other: Versions) -> bool {
        other.is_empty() || (self.first <= other.first && other.last <= self.last)
    }
}

/// The type of a field or of an array's elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// A number, text, bytes: what the wire has of itself.
    Primitive(Primitive),
    /// A structure of this message.
    Struct(String),
    /// A list.
    Array(Box<Type>),
}

/// What the wire has of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Primitive {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
}

impl Type {
    fn parse(text: &str) -> Type {
        if let Some(element) = text.strip_prefix("[]") {
            return Type::Array(Box::new(Type::parse(element)));
        }
        Type::Primitive(match text {
            "bool" => Primitive::Bool,
            "int8" => Primitive::Int8,
            "int16" => Primitive::Int16,
            "uint16" => Primitive::Uint16,
            "int32" => Primitive::Int32,
            "uint32" => Primitive::Uint32,
            "int64" => Primitive::Int64,
            "float64" => Primitive::Float64,
            "uuid" => Primitive::Uuid,
            "string" => Primitive::String,
            "bytes" => Primitive::Bytes,
            "records" => Primitive::Records,
            name => return Type::Struct(name.to_owned()),
        })
    }

    /// The structure's name, of the field itself or of the elements of a list.
    pub fn struct_name(&self) -> Option<&str> {
        match self {
            Type::Primitive(_) => None,
            Type::Struct(name) => Some(name),
            Type::Array(element) => element.struct_name(),
        }
    }
}

/// A field.
#[derive(Debug, Clone)]
pub struct Field {
    /// Kafka's name.
    pub name: String,
    /// Its type.
    pub kind: Type,
    /// The versions that have it.
    pub versions: Versions,
    /// The versions in which it may be null.
    pub nullable: Versions,
    /// Its tag, and the versions in which it is tagged.
    pub tag: Option<(u32, Versions)>,
    /// Its default in Kafka's notation, if not the type's own.
    pub default: Option<String>,
    /// Whether a value may be dropped silently in a version that lacks the field.
    pub ignorable: bool,
    /// Whether it is never written compactly (the client id in the request header).
    pub never_flexible: bool,
    fields: Vec<Field>,
}

/// A structure.
#[derive(Debug, Clone)]
pub struct Struct {
    /// Kafka's name.
    pub name: String,
    /// Its fields in wire order.
    pub fields: Vec<Field>,
    /// The versions in which the structure can stand.
    pub versions: Versions,
}

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
    Header,
    Data,
    Metadata,
    Key,
    Value,
}

/// A message.
#[derive(Debug, Clone)]
pub struct Message {
    /// What kind of message it is.
    pub kind: Kind,
    /// The API key, or the type of a record.
    pub key: Option<i16>,
    /// The versions that can be written and read.
    pub versions: Versions,
    /// The versions with compact lengths and tagged fields.
    pub flexible: Versions,
    /// Whether brokers answer it.
    pub on_broker: bool,
    /// Whether controllers answer it.
    pub on_controller: bool,
    /// Whether the latest version is not for use yet.
    pub unstable: bool,
    /// Whether a broker passes it on to the controller.
    pub forwardable: bool,
    /// Whether it needs the right to act for the cluster.
    pub cluster_action: bool,
    /// Whether it can be written from state without being built as a tree first.
    pub streamed: bool,
    /// The message itself, then its structures.
    pub structs: Vec<Struct>,
}

impl Message {
    /// Kafka's name.
    pub fn name(&self) -> &str {
        &self.structs[0].name
    }
}

/// Reads the messages of one file.
pub fn parse(text: &str) -> Outcome<Vec<Message>> {
    let lines: Vec<&str> = text.lines().filter(|it| !it.trim().is_empty()).collect();
    let mut messages = Vec::new();
    let mut next = 0;
    while next < lines.len() {
        let mut message = head(lines[next])?;
        next += 1;
        let mut fields = Vec::new();
        while next < lines.len() && lines[next].starts_with(' ') {
            if let Some(shared) = lines[next].strip_prefix("  struct ") {
                let (name, versions) = shared.split_once(' ').ok_or("a struct has a name and versions")?;
                let versions = Versions::parse(versions)?;
                next += 1;
                let fields = read_fields(&lines, &mut next, 2)?;
                message.structs.push(Struct { name: name.to_owned(), fields, versions });
            } else {
                fields.extend(read_fields(&lines, &mut next, 1)?);
            }
        }
        message.structs[0].fields = fields;
        lift_structs(&mut message);
        messages.push(message);
    }
    Ok(messages)
}

fn head(line: &str) -> Outcome<Message> {
    let mut words = line.split(' ');
    let kind = match words.next() {
        Some("request") => Kind::Request,
        Some("response") => Kind::Response,
        Some("header") => Kind::Header,
        Some("data") => Kind::Data,
        Some("metadata") => Kind::Metadata,
        Some("coordinator-key") => Kind::Key,
        Some("coordinator-value") => Kind::Value,
        other => return Err(format!("no kind of message: {other:?}").into()),
    };
    let name = words.next().ok_or("a message has a name")?.to_owned();
    let mut message = Message {
        kind,
        key: None,
        versions: Versions::NONE,
        flexible: Versions::NONE,
        on_broker: false,
        on_controller: false,
        unstable: false,
        forwardable: false,
        cluster_action: false,
        streamed: false,
        structs: Vec::new(),
    };
    for word in words {
        match word.split_once('=') {
            Some(("key", key)) => message.key = Some(key.parse()?),
            Some(("versions", versions)) => message.versions = Versions::parse(versions)?,
            Some(("flexible", versions)) => message.flexible = Versions::parse(versions)?,
            Some(("listeners", names)) => {
                message.on_broker = names.split(',').any(|it| it == "broker");
                message.on_controller = names.split(',').any(|it| it == "controller");
            }
            None if word == "unstable" => message.unstable = true,
            None if word == "forwardable" => message.forwardable = true,
            None if word == "streamed" => message.streamed = true,
            None if word == "cluster-action" => message.cluster_action = true,
            _ => return Err(format!("unknown word {word:?} in {line:?}").into()),
        }
    }
    message.structs.push(Struct { name, fields: Vec::new(), versions: message.versions });
    Ok(message)
}

fn read_fields(lines: &[&str], next: &mut usize, depth: usize) -> Outcome<Vec<Field>> {
    let mut fields: Vec<Field> = Vec::new();
    while let Some(line) = lines.get(*next) {
        let indent = (line.len() - line.trim_start().len()) / 2;
        if indent < depth || (depth == 1 && line.starts_with("  struct ")) {
            break;
        }
        if indent > depth {
            let inner = read_fields(lines, next, indent)?;
            fields.last_mut().ok_or("a field under nothing")?.fields = inner;
            continue;
        }
        fields.push(field(line.trim_start())?);
        *next += 1;
    }
    Ok(fields)
}

fn field(line: &str) -> Outcome<Field> {
    let (name, rest) = line.split_once(": ").ok_or_else(|| format!("no field: {line:?}"))?;
    let mut words = rest.split(' ');
    let kind = Type::parse(words.next().ok_or("a field has a type")?);
    let versions = Versions::parse(words.next().ok_or("a field has versions")?)?;
    let mut field = Field {
        name: name.to_owned(),
        kind,
        versions,
        nullable: Versions::NONE,
        tag: None,
        default: None,
        ignorable: false,
        never_flexible: false,
        fields: Vec::new(),
    };
    for word in words {
        match word.split_once('=') {
            Some(("null", versions)) => field.nullable = Versions::parse(versions)?,
            Some(("tag", tag)) => {
                let (tag, versions) = tag.split_once('@').ok_or("a tag is number@versions")?;
                field.tag = Some((tag.parse()?, Versions::parse(versions)?));
            }
            Some(("default", value)) => field.default = Some(value.to_owned()),
            Some(("flexible", "none")) => field.never_flexible = true,
            None if word == "key" => {}
            None if word == "ignorable" => field.ignorable = true,
            _ => return Err(format!("unknown word {word:?} in {line:?}").into()),
        }
    }
    Ok(field)
}

/// Makes the structures that fields hold inline structures of the message.
fn lift_structs(message: &mut Message) {
    let mut index = 0;
    while index < message.structs.len() {
        let mut lifted = Vec::new();
        let outer = message.structs[index].versions;
        for field in &mut message.structs[index].fields {
            if let (Some(name), false) = (field.kind.struct_name(), field.fields.is_empty()) {
                let fields = std::mem::take(&mut field.fields);
                lifted.push(Struct { name: name.to_owned(), fields, versions: field.versions.and(outer) });
            }
        }
        message.structs.extend(lifted);
        index += 1;
    }
}
