//! What coordinators see of the cluster: its metadata and the settings in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_base::Str;
use ottla_base::settings::Texts;
use ottla_metadata::settings::{GroupSettings, ResourceKind, ServerSettings, derived};
use ottla_metadata::{Image, Resource};

/// The cluster as this broker has applied it. Replaced as a whole whenever it changes.
#[derive(Debug, Clone)]
pub struct World {
    /// The metadata.
    pub image: Arc<Image>,
    /// How far the metadata log is applied in it: its offset.
    pub version: i64,
    /// The server's settings, dynamic ones included.
    pub settings: Arc<ServerSettings>,
    /// What groups have that say nothing themselves ([`derived::group_defaults`]).
    pub group_defaults: Arc<Texts>,
    /// The settings of groups that have some of their own, as far as they were asked for.
    read: BTreeMap<Str, Arc<GroupSettings>>,
    /// The settings of all others.
    read_defaults: Arc<GroupSettings>,
}

impl World {
    /// The cluster as `image` and `settings` have it; `group_defaults` are [`derived::group_defaults`] of the texts
    /// behind `settings`.
    pub fn new(image: Arc<Image>, settings: Arc<ServerSettings>, group_defaults: Arc<Texts>) -> World {
        let read_defaults = Arc::new(read(&settings, &group_defaults, &Texts::default()));
        World { image, version: 0, settings, group_defaults, read: BTreeMap::new(), read_defaults }
    }

    /// The same, where it is known how far the metadata log is applied.
    pub fn at_version(self, version: i64) -> World {
        World { version, ..self }
    }

    /// What holds for a group: its own settings over the server's. Read once.
    pub fn group_settings(&mut self, group: &Str) -> Arc<GroupSettings> {
        if let Some(known) = self.read.get(group) {
            return known.clone();
        }
        let resource = Resource { kind: ResourceKind::Group, name: group.clone() };
        let own = self.image.configs.of(&resource);
        if own.is_empty() {
            return self.read_defaults.clone();
        }
        let own: Texts = own.iter().map(|(key, text)| (key.to_string(), text.to_string())).collect();
        let settings = Arc::new(read(&self.settings, &self.group_defaults, &own));
        self.read.insert(group.detached(), settings.clone());
        settings
    }
}

/// Texts that were accepted once can be invalid after the server's bounds have moved; then the defaults hold.
fn read(server: &ServerSettings, defaults: &Texts, own: &Texts) -> GroupSettings {
    let texts = derived::group_settings(server, defaults, own);
    let texts = texts.or_else(|_| derived::group_settings(server, defaults, &Texts::default()));
    match texts.or_else(|_| derived::group_settings(server, &Texts::default(), &Texts::default())) {
        Ok(settings) => settings,
        // Not from outside: the tables' own defaults, which a test reads.
        Err(error) => panic!("the defaults of a group's settings are invalid: {error}"),
    }
}
