//! Who may do what and how much: ACLs, SCRAM credentials, delegation tokens, client quotas.

use std::sync::Arc;

use imbl::OrdMap;
use ottla_base::{Str, Uuid};
use ottla_wire::records::metadata::{
    AccessControlEntryRecord, ClientQuotaRecord, DelegationTokenRecord, EntityData,
    RemoveAccessControlEntryRecord, RemoveDelegationTokenRecord, RemoveUserScramCredentialRecord,
    UserScramCredentialRecord,
};

use crate::ImpossibleRecord;

/// ACLs, credentials and tokens, as the log states them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Access {
    /// ACLs by their ids.
    pub acls: OrdMap<Uuid, Arc<AccessControlEntryRecord>>,
    /// SCRAM credentials by mechanism (1: SHA-256, 2: SHA-512) and user.
    pub scram: OrdMap<(i8, Str), Arc<UserScramCredentialRecord>>,
    /// Delegation tokens by their ids.
    pub tokens: OrdMap<Str, Arc<DelegationTokenRecord>>,
}

/// Whom a quota is for: kinds of entities with their names, `None` for the default, in the order of kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaEntity(pub Vec<(Str, Option<Str>)>);

/// Client quotas: for each entity, limits by their keys.
pub type ClientQuotas = OrdMap<QuotaEntity, OrdMap<Str, f64>>;

impl Access {
    pub(super) fn apply_acl(&mut self, record: &AccessControlEntryRecord) -> Result<(), ImpossibleRecord> {
        if self.acls.contains_key(&record.id) {
            return Err(ImpossibleRecord::new(format!("ACL {} exists already", record.id)));
        }
        let mut entry = record.clone();
        for text in [&mut entry.resource_name, &mut entry.principal, &mut entry.host] {
            *text = text.detached();
        }
        self.acls.insert(entry.id, Arc::new(entry));
        Ok(())
    }

    pub(super) fn apply_remove_acl(
        &mut self,
        record: &RemoveAccessControlEntryRecord,
    ) -> Result<(), ImpossibleRecord> {
        let removed = self.acls.remove(&record.id);
        removed.map(drop).ok_or_else(|| ImpossibleRecord::new(format!("no ACL has the id {}", record.id)))
    }

    pub(super) fn apply_scram(&mut self, record: &UserScramCredentialRecord) {
        let mut credential = record.clone();
        credential.name = record.name.detached();
        for bytes in [&mut credential.salt, &mut credential.stored_key, &mut credential.server_key] {
            *bytes = bytes.to_vec().into();
        }
        self.scram.insert((record.mechanism, credential.name.clone()), Arc::new(credential));
    }

    pub(super) fn apply_remove_scram(
        &mut self,
        record: &RemoveUserScramCredentialRecord,
    ) -> Result<(), ImpossibleRecord> {
        let removed = self.scram.remove(&(record.mechanism, record.name.clone()));
        let unknown = || ImpossibleRecord::new(format!("user {} has no such credential", record.name));
        removed.map(drop).ok_or_else(unknown)
    }

    pub(super) fn apply_token(&mut self, record: &DelegationTokenRecord) {
        let mut token = record.clone();
        for text in [&mut token.owner, &mut token.requester, &mut token.token_id]
            .into_iter()
            .chain(&mut token.renewers)
        {
            *text = text.detached();
        }
        self.tokens.insert(token.token_id.clone(), Arc::new(token));
    }

    pub(super) fn apply_remove_token(&mut self, record: &RemoveDelegationTokenRecord) {
        self.tokens.remove(&record.token_id);
    }
}

pub(super) fn apply_quota(quotas: &mut ClientQuotas, record: &ClientQuotaRecord) {
    let mut parts: Vec<(Str, Option<Str>)> = (record.entity.iter())
        .map(|it| (it.entity_type.detached(), it.entity_name.as_ref().map(Str::detached)))
        .collect();
    parts.sort_unstable();
    let entity = QuotaEntity(parts);
    let mut limits = quotas.get(&entity).cloned().unwrap_or_default();
    if record.remove {
        limits.remove(&record.key);
    } else {
        limits.insert(record.key.detached(), record.value);
    }
    if limits.is_empty() {
        quotas.remove(&entity);
    } else {
        quotas.insert(entity, limits);
    }
}

pub(super) fn quota_record(entity: &QuotaEntity, key: &Str, value: f64) -> ClientQuotaRecord {
    let part = |(kind, name): &(Str, Option<Str>)| EntityData {
        entity_type: kind.clone(),
        entity_name: name.clone(),
        ..Default::default()
    };
    ClientQuotaRecord {
        entity: entity.0.iter().map(part).collect(),
        key: key.clone(),
        value,
        remove: false,
        ..Default::default()
    }
}
