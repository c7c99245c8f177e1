//! From the log to images: applies records, and hides a metadata transaction until it ends (KIP-868).

use std::mem;

use ottla_wire::records::metadata::MetadataRecord;

use crate::{Image, ImpossibleRecord};

/// Reads the metadata log, or a snapshot of it, into an image.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Replay {
    image: Image,
    /// The image before the transaction that is under way, if one is.
    before_transaction: Option<Box<Image>>,
}

impl Replay {
    /// Begins with nothing known: an empty log, or the first record of a snapshot.
    pub fn new() -> Replay {
        Replay::default()
    }

    /// What is visible: everything that was applied, except what belongs to a transaction under way.
    pub fn image(&self) -> &Image {
        self.before_transaction.as_deref().unwrap_or(&self.image)
    }

    /// Everything that was applied, the transaction under way included. What a controller decides on.
    pub fn latest(&self) -> &Image {
        &self.image
    }

    /// Whether a transaction is under way.
    pub fn in_transaction(&self) -> bool {
        self.before_transaction.is_some()
    }

    /// Takes the next record.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), ImpossibleRecord> {
        match record {
            MetadataRecord::BeginTransactionRecord(_) if self.in_transaction() => {
                return Err(ImpossibleRecord::new("a transaction begins within another"));
            }
            MetadataRecord::EndTransactionRecord(_) | MetadataRecord::AbortTransactionRecord(_)
                if !self.in_transaction() =>
            {
                return Err(ImpossibleRecord::new("a transaction ends that has not begun"));
            }
            MetadataRecord::BeginTransactionRecord(_) => {
                self.before_transaction = Some(Box::new(self.image.clone()))
            }
            MetadataRecord::EndTransactionRecord(_) => self.before_transaction = None,
            MetadataRecord::AbortTransactionRecord(_) => {
                if let Some(before) = self.before_transaction.take() {
                    self.image = *before;
                }
            }
            record => self.image.apply(record)?,
        }
        Ok(())
    }

    /// Puts a snapshot in the place of all that was read, and returns what was visible until now, so that the two
    /// can be compared.
    pub fn load(&mut self, snapshot: Image) -> Image {
        let before = mem::replace(self, Replay { image: snapshot, before_transaction: None });
        before.before_transaction.map_or(before.image, |visible| *visible)
    }
}
