//! One partition's log on a disk: append, read, recover, retain, compact, tier.
