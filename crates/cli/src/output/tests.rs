//! What is printed.

use serde_json::json;

use super::{Output, bytes_as_json, bytes_of_json, table};

#[test]
fn columns_are_aligned_and_lines_have_no_blanks_at_their_ends() {
    let rows = [["orders", "3", ""], ["a", "12", "x"]].map(|row| row.map(str::to_owned));
    assert_eq!(
        table(&["topic", "partitions", "note"], rows, false),
        "TOPIC   PARTITIONS  NOTE\norders  3\na       12          x"
    );
}

#[test]
fn programs_get_json_on_one_line() {
    let mut output = Output::in_memory();
    output.json(&json!({"b": 1, "a": [true, null]})).unwrap();
    assert_eq!(output.text(), "{\"b\":1,\"a\":[true,null]}\n");
}

#[test]
fn bytes_are_text_where_they_can_be() {
    for bytes in [&b"text"[..], b"", "é".as_bytes(), &[0xff, 0xfe]] {
        let shown = bytes_as_json(bytes);
        assert_eq!(shown.is_string(), std::str::from_utf8(bytes).is_ok());
        assert_eq!(bytes_of_json(&shown), Some(Some(bytes.to_vec())));
    }
    assert_eq!(bytes_of_json(&json!(null)), Some(None));
    assert_eq!(bytes_of_json(&json!(1)), None);
}
