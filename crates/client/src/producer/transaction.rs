//! Records and offsets that count together or not at all.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_base::Str;
use tokio::sync::{mpsc, oneshot};

use super::coordination::{self, COMMANDS_MAX, Command, Outcome};
use super::{Delivery, Inner, ProducerRecord};
use crate::cluster::{Cluster, Deadline, millis};
use crate::consumer::{Committed, GroupMetadata};
use crate::error::Error;
use crate::options::ProducerOptions;

/// Sends records in transactions, under a `transactional.id`. There is no way to send outside of one, and one has to
/// end before the next begins.
#[derive(Debug)]
pub struct TransactionalProducer {
    inner: Arc<Inner>,
    commands: mpsc::Sender<Command>,
}

/// An open transaction. Dropped, it is aborted in the background, before the next one begins.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is aborted"]
pub struct Transaction<'a> {
    producer: &'a mut TransactionalProducer,
    is_open: bool,
}

impl TransactionalProducer {
    /// A producer for a cluster that has taken over its `transactional.id`: what a former one left open is aborted, and
    /// that one can do no more.
    pub async fn new(cluster: &Cluster, options: ProducerOptions) -> Result<TransactionalProducer, Error> {
        let Some(id) = options.transactional_id.as_deref().map(Str::from) else {
            return Err(Error::invalid("transactions need a transactional.id"));
        };
        let inner = Inner::start(cluster, options)?;
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        cluster.host().spawn(coordination::run(inner.clone(), id, receiver));
        let producer = TransactionalProducer { inner, commands };
        producer.ask("taking over a transactional.id", Command::Init).await?;
        Ok(producer)
    }

    /// Begins a transaction, once the one before has ended.
    pub async fn begin(&mut self) -> Result<Transaction<'_>, Error> {
        self.ask("beginning a transaction", Command::Begin).await?;
        Ok(Transaction { producer: self, is_open: true })
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }

    /// Waits until an abort in the background, if there is one, has ended.
    pub async fn close(self) -> Result<(), Error> {
        self.ask("ending a transaction", Command::Settle).await
    }

    /// Has something done; it is done also if nobody waits any more.
    async fn ask(
        &self,
        what: &'static str,
        command: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> Command,
    ) -> Result<(), Error> {
        let cluster = &self.inner.cluster;
        let deadline = Deadline::after(cluster.host(), what, millis(self.inner.options.max_block_ms));
        let (reply, answer) = oneshot::channel();
        let command = command(reply);
        let asking = async {
            let gone = || Error::Closed("the producer was closed".into());
            self.commands.send(command).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        cluster.within(deadline, asking).await
    }
}

impl Drop for TransactionalProducer {
    fn drop(&mut self) {
        self.inner.closing.store(true, Ordering::SeqCst);
        self.inner.wake.notify_one();
    }
}

impl Transaction<'_> {
    /// Accepts a record; the result is what becomes of it. An error means that the transaction can only be aborted.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, Error> {
        let delivery = self.producer.inner.send(record).await?;
        let unregistered = self.producer.inner.accumulator.lock().unregistered();
        if unregistered.contains(delivery.partition()) {
            self.producer.ask("adding a partition to a transaction", Command::Register).await?;
        }
        Ok(delivery)
    }

    /// Lets a group's offsets be committed with the transaction. `group` tells who reads: a member that has lost its
    /// place is refused, and the transaction can only be aborted.
    pub async fn send_offsets(&self, offsets: &Committed, group: &GroupMetadata) -> Result<(), Error> {
        if offsets.is_empty() {
            return Ok(());
        }
        let (offsets, group) = (offsets.clone(), group.clone());
        let command = |reply| Command::Offsets(offsets, Box::new(group), reply);
        self.producer.ask("adding offsets to a transaction", command).await
    }

    /// Sends what waits, and commits. If anything could not be written, the transaction is aborted and the error says
    /// why. After [`Error::TimedOut`] the commit goes on in the background, and may still happen.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.is_open = false;
        let command = |reply| Command::End(Outcome::Commit, Some(reply));
        self.producer.ask("committing a transaction", command).await
    }

    /// Gives up what waits, and aborts.
    pub async fn abort(mut self) -> Result<(), Error> {
        self.is_open = false;
        let command = |reply| Command::End(Outcome::Abort, Some(reply));
        self.producer.ask("aborting a transaction", command).await
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_open {
            // If there is no room, the next transaction finds this one open and aborts it.
            let _ = self.producer.commands.try_send(Command::End(Outcome::Abort, None));
        }
    }
}
