//! Kafka's messages and internal records as values, and their bytes in every version.
