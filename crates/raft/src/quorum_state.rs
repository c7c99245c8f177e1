//! The file `quorum-state`: the epoch, its leader and this replica's vote, as the JSON line that Kafka writes
//! (`FileQuorumStateStore`, `QuorumStateData`).

use std::fmt;

use ottla_base::{LeaderEpoch, NodeId, Uuid};

use crate::ids::ReplicaKey;
use crate::voters::{KRaftVersion, VoterSet};

/// The name of the file within the directory of the metadata log.
const FILE_NAME: &str = "quorum-state";

/// What a replica must remember of elections before it answers anyone (K1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Election {
    /// The latest epoch seen.
    pub epoch: LeaderEpoch,
    /// The leader of that epoch, once known.
    pub leader: Option<NodeId>,
    /// Whom this replica voted for in that epoch.
    pub voted: Option<ReplicaKey>,
}

impl Election {
    /// The name of the file within the directory of the metadata log.
    pub const FILE_NAME: &str = FILE_NAME;

    /// The text of the file. Version 0 also names the voters, version 1 the directory of the vote.
    pub fn to_text(&self, version: KRaftVersion, voters: &VoterSet) -> String {
        let leader = self.leader.unwrap_or(NodeId::NONE);
        let voted = self.voted.map_or(NodeId::NONE, |key| key.id);
        let epoch = self.epoch;
        match version {
            KRaftVersion::Static => {
                let voters: Vec<String> = voters.ids().map(|id| format!("{{\"voterId\":{id}}}")).collect();
                format!(
                    "{{\"clusterId\":\"\",\"leaderId\":{leader},\"leaderEpoch\":{epoch},\"votedId\":{voted},\
                     \"appliedOffset\":0,\"currentVoters\":[{}],\"data_version\":0}}",
                    voters.join(",")
                )
            }
            KRaftVersion::Dynamic => {
                let directory = self.voted.map_or(Uuid::ZERO, |key| key.directory);
                format!(
                    "{{\"leaderId\":{leader},\"leaderEpoch\":{epoch},\"votedId\":{voted},\
                     \"votedDirectoryId\":\"{directory}\",\"data_version\":1}}"
                )
            }
        }
    }

    /// Reads the first line of a file. The voters that version 0 lists are not used, as in Kafka.
    pub fn from_text(text: &str) -> Result<Election, InvalidQuorumState> {
        let line = text.lines().next().unwrap_or_default();
        let fields = read_object(line)?;
        let number = |name: &'static str| -> Result<i64, InvalidQuorumState> {
            match fields.iter().rev().find(|(key, _)| key == name) {
                Some((_, Value::Number(number))) => Ok(*number),
                Some(_) => Err(InvalidQuorumState(format!("{name} is not a whole number"))),
                None => Err(InvalidQuorumState(format!("{name} is missing"))),
            }
        };
        let int = |name| {
            let number = number(name)?;
            i32::try_from(number).map_err(|_| InvalidQuorumState(format!("{name} is out of range")))
        };
        let version = number("data_version")?;
        if !(0..=1).contains(&version) {
            return Err(InvalidQuorumState(format!("data_version {version} is not 0 or 1")));
        }
        let directory = match fields.iter().rev().find(|(key, _)| key == "votedDirectoryId") {
            Some((_, Value::Text(text))) => text
                .parse::<Uuid>()
                .map_err(|_| InvalidQuorumState("votedDirectoryId is not an id".to_owned()))?,
            Some(_) => return Err(InvalidQuorumState("votedDirectoryId is not text".to_owned())),
            None if version == 0 => Uuid::ZERO,
            None => return Err(InvalidQuorumState("votedDirectoryId is missing".to_owned())),
        };
        let node = |id: i32| (id >= 0).then_some(NodeId(id));
        Ok(Election {
            epoch: LeaderEpoch(int("leaderEpoch")?),
            leader: node(int("leaderId")?),
            voted: node(int("votedId")?).map(|id| ReplicaKey::new(id, directory)),
        })
    }
}

/// A file that does not say what a `quorum-state` must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidQuorumState(String);

impl fmt::Display for InvalidQuorumState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FILE_NAME}: {}", self.0)
    }
}

impl std::error::Error for InvalidQuorumState {}

enum Value {
    Number(i64),
    Text(String),
    Other,
}

/// Reads one flat JSON object; what is nested is skipped.
fn read_object(line: &str) -> Result<Vec<(String, Value)>, InvalidQuorumState> {
    let mut json = Json { text: line.as_bytes(), at: 0 };
    let mut fields = Vec::new();
    json.expect(b'{')?;
    if json.accept(b'}') {
        return Ok(fields);
    }
    loop {
        let name = json.string()?;
        json.expect(b':')?;
        fields.push((name, json.value()?));
        if json.accept(b'}') {
            return Ok(fields);
        }
        json.expect(b',')?;
    }
}

struct Json<'t> {
    text: &'t [u8],
    at: usize,
}

impl Json<'_> {
    fn invalid<T>(&self, wanted: &str) -> Result<T, InvalidQuorumState> {
        Err(InvalidQuorumState(format!("{wanted} expected at byte {}", self.at)))
    }

    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn accept(&mut self, letter: u8) -> bool {
        let found = self.peek() == Some(letter);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, letter: u8) -> Result<(), InvalidQuorumState> {
        if self.accept(letter) { Ok(()) } else { self.invalid(&format!("'{}'", letter as char)) }
    }

    fn string(&mut self) -> Result<String, InvalidQuorumState> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return self.invalid("the end of a text"),
            }
        }
        let inside = self.text.get(start..self.at).unwrap_or_default();
        self.at += 1;
        match std::str::from_utf8(inside) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => self.invalid("text in UTF-8"),
        }
    }

    fn value(&mut self) -> Result<Value, InvalidQuorumState> {
        match self.peek() {
            Some(b'"') => Ok(Value::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => {
                let start = self.at;
                self.at += 1;
                while self.text.get(self.at).is_some_and(|it| it.is_ascii_digit() || b".eE+-".contains(it)) {
                    self.at += 1;
                }
                let number = std::str::from_utf8(&self.text[start..self.at]).ok();
                Ok(number.and_then(|it| it.parse().ok()).map_or(Value::Other, Value::Number))
            }
            Some(b'{' | b'[') => self.skip_nested(),
            Some(b'a'..=b'z') => {
                while self.text.get(self.at).is_some_and(u8::is_ascii_lowercase) {
                    self.at += 1;
                }
                Ok(Value::Other)
            }
            _ => self.invalid("a value"),
        }
    }

    /// Skips an object or an array without recursion: the depth comes from a file.
    fn skip_nested(&mut self) -> Result<Value, InvalidQuorumState> {
        let mut depth = 0usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') => depth -= 1,
                Some(_) => {}
                None => return self.invalid("the end of a list"),
            }
            self.at += 1;
            if depth == 0 {
                return Ok(Value::Other);
            }
        }
    }
}
