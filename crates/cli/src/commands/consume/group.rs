//! Reading as a member of a group, or of a share group.

use std::collections::BTreeMap;

use ottla_base::settings::{Table, Texts};
use ottla_client::{
    Acknowledge, Consumer, ConsumerOptions, Error, FetcherOptions, Position, ShareConsumer, ShareOptions,
    SharedRecords,
};
use ottla_host::Host;
use ottla_host::process::StopSignals;

use super::{ConsumeArguments, Printer, Session};
use crate::commands::client::{count_of, explain};
use crate::failure::{Failure, Outcome};
use crate::output;

/// Reads as a member of a group. How far was printed is committed; the rest is for the next member.
pub(super) async fn consume(
    arguments: &ConsumeArguments,
    host: &Host,
    printer: Printer,
    texts: &Texts,
) -> Outcome {
    let mut texts = texts.clone();
    texts.insert("group.id".to_owned(), arguments.group.clone().unwrap_or_default());
    if let Some(protocol) = &arguments.group_protocol {
        texts.insert("group.protocol".to_owned(), protocol.clone());
    }
    let options = ConsumerOptions::read(&texts).map_err(Failure::misuse)?;
    let fetcher_options = FetcherOptions::read(&texts).map_err(Failure::misuse)?;
    let cluster = Box::pin(arguments.client.connect(host, &texts)).await?;
    let mut consumer = Consumer::new(&cluster, options, fetcher_options).map_err(explain)?;
    consumer.subscribe([arguments.topic.as_str()]).map_err(explain)?;
    let mut signals = StopSignals::listen().map_err(|error| Failure::new(format!("signals: {error}")))?;
    let mut session = Session::new(arguments, host, printer, BTreeMap::new());
    let ended = tokio::select! {
        biased;
        _ = signals.next() => Ok(()),
        ended = Box::pin(read(&mut session, &mut consumer)) => ended,
    };
    for (partition, next) in std::mem::take(&mut session.printed) {
        // What was taken away meanwhile is somebody else's.
        if consumer.assignment().any(|it| *it == partition) {
            consumer.seek(&partition, Position::Offset(next)).map_err(explain)?;
        }
    }
    let closed = Box::pin(consumer.close()).await.map_err(explain);
    finish(&mut session)?;
    ended.and(closed)
}

async fn read(session: &mut Session<'_>, consumer: &mut Consumer) -> Outcome {
    let mut told: Option<String> = None;
    while session.count < session.max_count && !session.is_idle() {
        match consumer.poll(session.wait()).await {
            Ok(fetched) => session.print(&fetched)?,
            Err(error) => warn(error, &mut told)?,
        }
    }
    Ok(())
}

/// Takes records as a member of a share group. What is printed is accepted, the rest is given back.
pub(super) async fn share(
    arguments: &ConsumeArguments,
    host: &Host,
    printer: Printer,
    texts: &Texts,
) -> Outcome {
    let mut texts = texts.clone();
    texts.insert("group.id".to_owned(), arguments.share_group.clone().unwrap_or_default());
    texts.insert("share.acknowledgement.mode".to_owned(), "explicit".to_owned());
    let options = ShareOptions::read(&texts).map_err(Failure::misuse)?;
    let cluster = Box::pin(arguments.client.connect(host, &texts)).await?;
    let mut consumer = ShareConsumer::new(&cluster, options).map_err(explain)?;
    consumer.subscribe([arguments.topic.as_str()]);
    let mut signals = StopSignals::listen().map_err(|error| Failure::new(format!("signals: {error}")))?;
    let mut session = Session::new(arguments, host, printer, BTreeMap::new());
    let ended = tokio::select! {
        biased;
        _ = signals.next() => Ok(()),
        ended = Box::pin(take(&mut session, &mut consumer)) => ended,
    };
    let closed = Box::pin(consumer.close()).await.map_err(explain);
    finish(&mut session)?;
    ended.and(closed)
}

async fn take(session: &mut Session<'_>, consumer: &mut ShareConsumer) -> Outcome {
    let mut told: Option<String> = None;
    while session.count < session.max_count && !session.is_idle() {
        match consumer.poll(session.wait()).await {
            Ok(taken) => {
                for records in &taken {
                    print_shared(session, consumer, records)?;
                }
                session.output.flush()?;
            }
            Err(error) => warn(error, &mut told)?,
        }
        for (partition, result) in consumer.acknowledged() {
            if let Err(error) = result {
                output::remark(format_args!("warning: records of {partition} are not acknowledged: {error}"));
            }
        }
    }
    Ok(())
}

fn print_shared(session: &mut Session<'_>, consumer: &mut ShareConsumer, records: &SharedRecords) -> Outcome {
    let partition = records.partition();
    for batch in records.batches() {
        let batch = batch.map_err(explain)?;
        for record in batch.records() {
            let (record, _) = record.map_err(explain)?;
            let what = if session.count < session.max_count {
                session.count += 1;
                session.printer.print(partition, &record, &mut session.buffer);
                Acknowledge::Accept
            } else {
                Acknowledge::Release
            };
            session.output.bytes(&session.buffer)?;
            session.buffer.clear();
            consumer.acknowledge(partition, record.offset, what).map_err(explain)?;
        }
        session.last_record = session.host.now();
    }
    Ok(())
}

/// What passes is told once; what does not ends the command.
fn warn(error: Error, told: &mut Option<String>) -> Outcome {
    if !error.is_retriable() {
        return Err(explain(error));
    }
    let error = error.to_string();
    if told.as_ref() != Some(&error) {
        output::remark(format_args!("warning: {error}; trying again"));
    }
    *told = Some(error);
    Ok(())
}

fn finish(session: &mut Session<'_>) -> Outcome {
    session.output.flush()?;
    if output::is_attended() {
        output::remark(format_args!("{} consumed", count_of(session.count, "record")));
    }
    Ok(())
}
