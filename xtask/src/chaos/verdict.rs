//! What producers were told, held against what a server has in the end.

use std::collections::BTreeMap;

use super::consumer::Consumer;
use super::history::History;
use super::producer::Producer;

/// Reads everything and compares. Gives how many records were acknowledged, and everything that is wrong.
pub fn reach(
    port: u16,
    partitions: &[(String, i32)],
    producers: &[Producer],
    seen: Option<&Consumer>,
) -> (usize, Vec<String>) {
    let mut read = Consumer::new(port, partitions);
    let mut wrong: Vec<String> = Vec::new();
    if let Err(error) = read.read_all() {
        wrong.push(error.to_string());
    }
    let mut acknowledged = 0;
    for (index, (topic, partition)) in partitions.iter().enumerate() {
        let sent = producers.iter().zip(0..).map(|(it, index_of)| (index_of, it.lanes()[index].sent));
        let mut history = History {
            sent: sent.collect::<BTreeMap<_, _>>(),
            seen: seen.map(|it| it.readings[index].seen.clone()).unwrap_or_default(),
            read: std::mem::take(&mut read.readings[index].seen),
            ..History::default()
        };
        for producer in producers {
            history.acknowledged.extend(producer.lanes()[index].acknowledged.iter().cloned());
        }
        acknowledged += history.acknowledged.iter().map(|it| it.1.len()).sum::<usize>();
        let found = history.check();
        if !found.is_empty() {
            let first: Vec<_> = found.iter().take(8).collect();
            wrong.push(format!("{topic}-{partition}: {} anomalies, first {first:?}", found.len()));
        }
    }
    wrong.extend(producers.iter().flat_map(|it| it.anomalies.iter().cloned()));
    (acknowledged, wrong)
}
