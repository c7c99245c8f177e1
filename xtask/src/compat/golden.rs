//! Bytes from Apache Kafka's own serializers, against ours.
