//! Numbers with types: ids, epochs, offsets and timestamps, so that one cannot be passed for another.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The bare number.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<$inner> for $name {
            fn from(number: $inner) -> Self {
                $name(number)
            }
        }

        impl From<$name> for $inner {
            fn from(number: $name) -> Self {
                number.0
            }
        }
    };
}

number! {
    /// `node.id`: one process of the cluster, broker or controller.
    NodeId(i32)
}
number! {
    /// The number of a partition within its topic.
    PartitionIndex(i32)
}
number! {
    /// A position in a log, counted in records.
    Offset(i64)
}
number! {
    /// The epoch of a partition's or the quorum's leader.
    LeaderEpoch(i32)
}
number! {
    /// The epoch of a broker's registration: the offset of its registration record (KIP-631).
    BrokerEpoch(i64)
}
number! {
    /// The id of an idempotent producer (KIP-98).
    ProducerId(i64)
}
number! {
    /// The epoch of an idempotent producer (KIP-98).
    ProducerEpoch(i16)
}
number! {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64)
}

impl NodeId {
    /// No node.
    pub const NONE: NodeId = NodeId(-1);
}

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Offset = Offset(0);

    /// The offset `records` after this one; saturates instead of wrapping.
    pub const fn after(self, records: i64) -> Offset {
        Offset(self.0.saturating_add(records))
    }
}

impl LeaderEpoch {
    /// No epoch is known.
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);
}

impl ProducerId {
    /// The batch was not written by an idempotent producer.
    pub const NONE: ProducerId = ProducerId(-1);
}

impl ProducerEpoch {
    /// The batch was not written by an idempotent producer.
    pub const NONE: ProducerEpoch = ProducerEpoch(-1);
}

impl Timestamp {
    /// No timestamp.
    pub const NONE: Timestamp = Timestamp(-1);
}
