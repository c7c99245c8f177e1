//! Bytes that Apache Kafka wrote.
