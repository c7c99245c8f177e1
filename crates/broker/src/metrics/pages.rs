//! What the HTTP port shows: the metrics, with what the coordinators have, and why a group rebalanced.

use std::fmt::Write;
use std::sync::Arc;

use ottla_base::Str;
use ottla_coordinator::group::{Measured, Rebalance, Reply, Request};

use super::state;
use crate::broker::Broker;

/// The page for Prometheus. What the coordinators have is asked first; the rest is where the disk may be waited for.
pub(super) async fn metrics(broker: &Arc<Broker>) -> String {
    let mut measured = Measured::default();
    for asked in broker.coordinators.groups.ask_every(broker, || Request::Measure(()).into()) {
        // A coordinator that loads has nothing to tell yet.
        if let Ok(Reply::Measure(of_one)) = asked.await.map(|it| *it) {
            measured.add(of_one);
        }
    }
    let rendering = broker.clone();
    broker.host.blocking(move || state::render(&rendering, &measured)).await
}

/// The latest rebalances of a group, the oldest first, as JSON; or the code of the error that keeps them from being told.
pub(super) async fn rebalances(broker: &Arc<Broker>, group: Str) -> String {
    let asked = broker.coordinators.groups.ask(broker, &group, Request::Explain(group.clone()));
    match asked.await.map(|it| *it) {
        Ok(Reply::Explain(rebalances)) => {
            let rebalances: Vec<String> = rebalances.iter().map(rebalance).collect();
            format!("{{\"group\":{},\"rebalances\":[{}]}}\n", quoted(&group), rebalances.join(","))
        }
        Ok(_) => "{\"error\":\"UNKNOWN_SERVER_ERROR\"}\n".to_owned(),
        Err(code) => format!("{{\"error\":{}}}\n", quoted(code.name())),
    }
}

fn rebalance(it: &Rebalance) -> String {
    let end = match &it.end {
        Some(end) => format!(
            "{{\"generation\":{},\"members\":{},\"duration_ms\":{}}}",
            end.generation, end.members, end.duration_ms
        ),
        None => "null".to_owned(),
    };
    format!(
        "{{\"began_ms\":{},\"trigger\":{},\"member\":{},\"reason\":{},\"end\":{end}}}",
        it.began.get(),
        quoted(it.trigger.name()),
        quoted(&it.member),
        quoted(&it.reason)
    )
}

/// A text as JSON has it.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if u32::from(letter) < 0x20 => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn texts_of_clients_cannot_break_out() {
        assert_eq!(quoted("a \"b\" \\ \n ü"), "\"a \\\"b\\\" \\\\ \\u000a ü\"");
    }
}
