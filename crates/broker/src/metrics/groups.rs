//! `kafka.server:type=group-coordinator-metrics` and `kafka.coordinator.group:type=GroupMetadataManager`: groups of every
//! kind, committed offsets, and why groups rebalance.

use ottla_coordinator::group::{Kind as GroupKind, Measured};

use super::exposition::{Kind, Page};

const COORDINATOR: &str = "kafka_server_group_coordinator_metrics_";
const MANAGER: &str = "kafka_coordinator_group_groupmetadatamanager_";

/// The states of the groups of a kind.
const STATES: [(GroupKind, &[&str]); 4] = [
    (GroupKind::Classic, &["Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"]),
    (GroupKind::Consumer, &["Empty", "Assigning", "Reconciling", "Stable", "Dead"]),
    (GroupKind::Share, &["Empty", "Stable", "Dead"]),
    (GroupKind::Streams, &["Empty", "NotReady", "Assigning", "Reconciling", "Stable", "Dead"]),
];

/// Writes every family.
pub(super) fn render(page: &mut Page, measured: &Measured) {
    let of = |kind: GroupKind, state: &'static str| measured.groups.get(&(kind, state)).copied().unwrap_or(0);
    let all = |wanted: GroupKind| -> usize {
        measured.groups.iter().filter(|((kind, _), _)| *kind == wanted).map(|(_, groups)| groups).sum()
    };
    let name = format!("{COORDINATOR}group_count");
    let mut family = page.family(&name, Kind::Gauge, "Groups by kind.");
    for (kind, _) in STATES {
        family.sample(&[("protocol", kind.name())], all(kind));
    }
    for (kind, states) in STATES {
        let name = format!("{COORDINATOR}{}_group_count", kind.name());
        let mut family = page.family(&name, Kind::Gauge, "Groups of one kind by state.");
        for state in states {
            family.sample(&[("state", state)], of(kind, state));
        }
    }
    page.gauge(&format!("{MANAGER}numoffsets"), "Committed offsets.", measured.offsets);
    page.gauge(&format!("{MANAGER}numgroups"), "Classic groups.", all(GroupKind::Classic));
    for (_, states) in &STATES[..1] {
        for state in *states {
            let name = format!("{MANAGER}numgroups{}", state.to_lowercase());
            page.gauge(&name, "Classic groups in one state.", of(GroupKind::Classic, state));
        }
    }
    let counts = &measured.counts;
    let counters: [(&str, &str, u64); 4] = [
        ("offset_commit_count", "Offsets that were committed.", counts.offset_commits),
        ("offset_deletion_count", "Offsets that somebody deleted.", counts.offset_deletions),
        ("offset_expiration_count", "Offsets that were too old.", counts.offset_expirations),
        ("group_completed_rebalance_count", "Rebalances of classic groups.", counts.completed_rebalances),
    ];
    for (name, help, value) in counters {
        page.counter(&format!("{COORDINATOR}{name}"), help, value);
    }
    for kind in [GroupKind::Consumer, GroupKind::Share, GroupKind::Streams] {
        let name = format!("{COORDINATOR}{}_group_rebalance_count", kind.name());
        let help = "How often groups of one kind began to rebalance.";
        page.counter(&name, help, measured.rebalances_of(kind));
    }
    why(page, measured);
}

/// What no other broker tells.
fn why(page: &mut Page, measured: &Measured) {
    let help = "Rebalances that have begun, by what set them off.";
    let mut family = page.family("ottla_group_rebalances_total", Kind::Counter, help);
    for ((kind, trigger), rebalances) in &measured.rebalances {
        family.sample(&[("protocol", kind.name()), ("trigger", trigger.name())], rebalances.begun);
    }
    let help = "How long rebalances took that have ended, by what set them off.";
    let mut family = page.family("ottla_group_rebalance_seconds_total", Kind::Counter, help);
    for ((kind, trigger), rebalances) in &measured.rebalances {
        let seconds = std::time::Duration::from_millis(rebalances.duration_ms).as_secs_f64();
        family.sample(&[("protocol", kind.name()), ("trigger", trigger.name())], seconds);
    }
}
