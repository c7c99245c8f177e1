//! Which partition of an internal topic keeps what: Kafka's rule, so that either implementation finds it.

/// The partition, out of `partitions`, that keeps the state named `key`: a group id, a transactional id, or
/// `group:topicId:partition` (`GroupCoordinatorService.partitionFor`): the absolute value of Java's `String.hashCode`,
/// which goes over UTF-16 units, modulo the number of partitions.
pub fn partition_for(key: &str, partitions: i32) -> i32 {
    let hash =
        key.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // `Utils.abs` makes the one number without a positive counterpart zero.
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    positive % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::partition_for;

    #[test]
    fn places_are_those_of_java() {
        // `"polygenelubricants".hashCode()` is `Integer.MIN_VALUE`; the others were computed by hand.
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        assert_eq!(partition_for("", 50), 0);
        assert_eq!(partition_for("a", 50), 97 % 50);
        assert_eq!(partition_for("ab", 50), (97 * 31 + 98) % 50);
        // U+1F600 is two units: 0xD83D and 0xDE00.
        assert_eq!(partition_for("\u{1F600}", 1 << 30), 0xD83D * 31 + 0xDE00);
    }
}
