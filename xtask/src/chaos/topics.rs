//! Topics that come, go and change while the server is killed, and whether every answered change survives.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::random::Random;
use super::requests;
use crate::load::protocol::{Connection, Request, Sequence, batch_of, now_ms};
use crate::workspace::Outcome;

const KEY: &str = "segment.ms";
const NAMES: u64 = 12;
const PREFIX: &str = "passing-";

/// What a topic is like.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape {
    partitions: usize,
    config: Option<u64>,
}

/// Changes topics and remembers what must be so.
pub struct Changer {
    port: u16,
    random: Random,
    /// What each topic may be: one state, or two where a change was asked for and not answered.
    states: BTreeMap<String, Vec<Option<Shape>>>,
    /// How many changes were answered.
    pub changes: u64,
    /// Things that must never happen.
    pub anomalies: Vec<String>,
}

impl Changer {
    /// Nothing was made yet.
    pub fn new(port: u16, random: Random) -> Changer {
        Changer { port, random, states: BTreeMap::new(), changes: 0, anomalies: Vec::new() }
    }

    /// Changes topics until told to stop, and looks at all of them after every lost connection.
    pub fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) && self.anomalies.is_empty() {
            // A connection that ends is what this test is about.
            let _ = self.session(stop);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn session(&mut self, stop: &AtomicBool) -> Outcome {
        let mut connection = Connection::open(self.port)?;
        self.verify(&mut connection)?;
        while !stop.load(Ordering::Relaxed) && self.anomalies.is_empty() {
            self.change(&mut connection)?;
            std::thread::sleep(Duration::from_millis(self.random.below(20)));
        }
        Ok(())
    }

    /// Looks at every topic: each must be as the last answered change left it.
    pub fn verify(&mut self, connection: &mut Connection) -> Outcome {
        let mut buffer = Vec::new();
        let there = requests::topics(connection.ask(&requests::all_topics(), &mut buffer)?)?;
        for name in there.keys().filter(|it| it.starts_with(PREFIX)) {
            self.states.entry(name.clone()).or_insert_with(|| vec![None]);
        }
        for (name, possible) in &mut self.states {
            let found = match there.get(name) {
                None => None,
                Some(partitions) => {
                    let answer = connection.ask(&requests::describe_config(name, KEY), &mut buffer)?;
                    let value: u64 = requests::config_value(answer)?.parse()?;
                    let default = 7 * 24 * 3600 * 1000;
                    Some(Shape { partitions: partitions.len(), config: (value != default).then_some(value) })
                }
            };
            if !possible.contains(&found) {
                self.anomalies.push(format!("topic {name} is {found:?} and must be one of {possible:?}"));
            }
            *possible = vec![found];
        }
        Ok(())
    }

    /// Asks for one change; an error leaves the topic between two states.
    fn change(&mut self, connection: &mut Connection) -> Outcome {
        let name = format!("{PREFIX}{}", self.random.below(NAMES));
        let before = self.states.get(&name).and_then(|it| it.first().cloned()).unwrap_or_default();
        let mut after = before.clone();
        let request = match &mut after {
            None => {
                let partitions = 1 + self.random.below(3) as usize;
                after = Some(Shape { partitions, config: None });
                Request::create_topic(&name, partitions as i32)
            }
            Some(_) if self.random.chance(30) => {
                after = None;
                requests::delete_topic(&name)
            }
            Some(shape) if self.random.chance(30) && shape.partitions < 6 => {
                shape.partitions += 1;
                requests::create_partitions(&name, shape.partitions as i32)
            }
            Some(shape) => {
                let value = 1_000_000 + self.random.below(1 << 30);
                shape.config = Some(value);
                requests::set_config(&name, KEY, &value.to_string())
            }
        };
        self.states.insert(name.clone(), vec![before.clone(), after.clone()]);
        let is_config = matches!((&before, &after), (Some(old), Some(new)) if old.config != new.config);
        let mut buffer = Vec::new();
        let answer = connection.ask(&request, &mut buffer)?;
        let code = if is_config { requests::config_code(answer)? } else { requests::topic_code(answer)? };
        self.changes += 1;
        if code != 0 {
            // Refusals are for a server that stops; what became of it is seen with the next look.
            return Err(format!("a change of {name} was refused with error {code}").into());
        }
        self.states.insert(name.clone(), vec![after.clone()]);
        if before.is_none() && after.is_some() {
            // So that there are logs to delete that have something in them.
            let batch = batch_of(&[vec![1; 100]], now_ms(), Sequence::NONE);
            connection.ask(&Request::produce(&name, 0, 1, &batch), &mut buffer)?;
        }
        Ok(())
    }
}
