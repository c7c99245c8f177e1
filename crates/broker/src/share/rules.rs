//! What holds for a group, as its settings say now.

use std::sync::Arc;
use std::time::Duration;

use ottla_base::{ErrorCode, Str};
use ottla_coordinator::World;
use ottla_coordinator::share_partition::{GivenUp, Renewal, Rules};
use ottla_metadata::settings::GroupSettings;
use ottla_storage::ReadLimit;
use parking_lot::Mutex;

use crate::broker::Broker;

/// The feature that lets brokers serve share groups.
const SHARE_VERSION: &str = "share.version";
/// From this level on there are share groups.
const WITH_SHARE_GROUPS: i16 = 1;
/// From this level on they can have dead-letter queues (KIP-1191).
const WITH_DEAD_LETTERS: i16 = 2;

/// What holds for a share group.
#[derive(Debug, Clone)]
pub(crate) struct GroupRules {
    /// What holds for records in flight.
    pub rules: Rules,
    /// Where a partition is read from at first.
    pub auto_offset_reset: String,
    /// Up to where members may see.
    pub limit: ReadLimit,
    /// Where given-up records are written to.
    pub dead_letter_topic: Option<Str>,
    /// Whether their keys and values are written there, or only where they were.
    pub copies_dead_letters: bool,
}

/// The settings of groups, read once for every state of the world.
#[derive(Default)]
pub(super) struct RulesCache {
    seen: Mutex<Option<(Arc<World>, World)>>,
}

impl RulesCache {
    /// What holds for a group now. Refuses where there are no share groups.
    pub(super) fn of(&self, broker: &Broker, group: &Str) -> Result<GroupRules, ErrorCode> {
        let world = broker.coordinators.world().ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let level = world.image.features.level_named(SHARE_VERSION);
        if level < WITH_SHARE_GROUPS {
            return Err(ErrorCode::UnsupportedVersion);
        }
        let mut seen = self.seen.lock();
        if !seen.as_ref().is_some_and(|(of, _)| Arc::ptr_eq(of, &world)) {
            *seen = Some((world.clone(), World::clone(&world)));
        }
        let settings = match &mut *seen {
            Some((_, world)) => world.group_settings(group),
            None => return Err(ErrorCode::UnknownServerError),
        };
        drop(seen);
        Ok(read(&settings, level))
    }
}

fn read(settings: &GroupSettings, level: i16) -> GroupRules {
    let topic = settings.errors_deadletterqueue_topic_name.as_str();
    let dead_letter_topic = (level >= WITH_DEAD_LETTERS && !topic.is_empty()).then(|| Str::from(topic));
    GroupRules {
        rules: Rules {
            max_delivery_count: i16::try_from(settings.share_delivery_count_limit).unwrap_or(i16::MAX),
            lock_duration: Duration::from_millis(
                u64::try_from(settings.share_record_lock_duration_ms).unwrap_or(0),
            ),
            max_in_flight: i64::from(settings.share_partition_max_record_locks),
            renewal: match settings.share_renew_acknowledge_enable {
                true => Renewal::Allowed,
                false => Renewal::Refused,
            },
            given_up: match dead_letter_topic {
                Some(_) => GivenUp::DeadLetters,
                None => GivenUp::Archived,
            },
        },
        auto_offset_reset: settings.share_auto_offset_reset.clone(),
        limit: match settings.share_isolation_level.as_str() {
            "read_committed" => ReadLimit::LastStable,
            _ => ReadLimit::HighWatermark,
        },
        dead_letter_topic,
        copies_dead_letters: settings.errors_deadletterqueue_copy_record_enable,
    }
}
