//! `kafka.server:type=BrokerTopicMetrics`: what came in and went out, per topic and in all.

use super::exposition::{Kind, Page};
use super::instrument::Counter;

macro_rules! topic_counters {
    ($($(#[$doc:meta])* $field:ident = $name:literal;)*) => {
        /// The counters that exist once per topic and once for all topics.
        #[derive(Debug, Default)]
        pub struct TopicCounters {
            $($(#[$doc])* pub $field: Counter,)*
        }

        impl TopicCounters {
            const FAMILIES: &'static [(&'static str, fn(&TopicCounters) -> &Counter)] =
                &[$((concat!("kafka_server_brokertopicmetrics_", $name, "_total"), |it| &it.$field),)*];
        }
    };
}

topic_counters! {
    /// `BytesInPerSec`
    bytes_in = "bytesin";
    /// `BytesOutPerSec`
    bytes_out = "bytesout";
    /// `BytesRejectedPerSec`
    bytes_rejected = "bytesrejected";
    /// `MessagesInPerSec`
    messages_in = "messagesin";
    /// `TotalProduceRequestsPerSec`
    total_produce_requests = "totalproducerequests";
    /// `TotalFetchRequestsPerSec`
    total_fetch_requests = "totalfetchrequests";
    /// `FailedProduceRequestsPerSec`
    failed_produce_requests = "failedproducerequests";
    /// `FailedFetchRequestsPerSec`
    failed_fetch_requests = "failedfetchrequests";
    /// `TotalShareFetchRequestsPerSec`
    total_share_fetch_requests = "totalsharefetchrequests";
    /// `FailedShareFetchRequestsPerSec`
    failed_share_fetch_requests = "failedsharefetchrequests";
    /// `TotalShareAcknowledgementRequestsPerSec`
    total_share_acknowledgement_requests = "totalshareacknowledgementrequests";
    /// `FailedShareAcknowledgementRequestsPerSec`
    failed_share_acknowledgement_requests = "failedshareacknowledgementrequests";
    /// `ProduceMessageConversionsPerSec`: batches that were compressed anew for their topic.
    produce_message_conversions = "producemessageconversions";
    /// `InvalidMagicNumberRecordsPerSec`
    invalid_magic_number_records = "invalidmagicnumberrecords";
    /// `InvalidMessageCrcRecordsPerSec`
    invalid_message_crc_records = "invalidmessagecrcrecords";
    /// `InvalidOffsetOrSequenceRecordsPerSec`
    invalid_offset_or_sequence_records = "invalidoffsetorsequencerecords";
    /// `NoKeyCompactedTopicRecordsPerSec`
    no_key_compacted_topic_records = "nokeycompactedtopicrecords";
    /// `RemoteCopyBytesPerSec`
    remote_copy_bytes = "remotecopybytes";
    /// `RemoteCopyRequestsPerSec`
    remote_copy_requests = "remotecopyrequests";
    /// `RemoteCopyErrorsPerSec`
    remote_copy_errors = "remotecopyerrors";
    /// `RemoteFetchBytesPerSec`
    remote_fetch_bytes = "remotefetchbytes";
    /// `RemoteFetchRequestsPerSec`
    remote_fetch_requests = "remotefetchrequests";
    /// `RemoteFetchErrorsPerSec`
    remote_fetch_errors = "remotefetcherrors";
    /// `RemoteDeleteRequestsPerSec`
    remote_delete_requests = "remotedeleterequests";
    /// `RemoteDeleteErrorsPerSec`
    remote_delete_errors = "remotedeleteerrors";
}

/// Whether there is tiered storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Segments may be tiered.
    On,
    /// None is.
    Off,
}

/// Writes every family: the sum without labels, then each topic that has seen anything.
pub fn render<'topics>(
    page: &mut Page,
    all: &TopicCounters,
    topics: impl Iterator<Item = (&'topics str, &'topics TopicCounters)> + Clone,
    tier: Tier,
) {
    for (name, counter) in TopicCounters::FAMILIES {
        // As in Kafka, nothing is said of tiered storage where there is none.
        if name.starts_with("kafka_server_brokertopicmetrics_remote") && tier == Tier::Off {
            continue;
        }
        let mut family = page.family(name, Kind::Counter, "BrokerTopicMetrics of Apache Kafka.");
        family.sample(&[], counter(all).get());
        for (topic, counters) in topics.clone() {
            let value = counter(counters).get();
            if value > 0 {
                family.sample(&[("topic", topic)], value);
            }
        }
    }
}
