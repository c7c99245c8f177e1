//! Tests of responses.

use super::*;

#[test]
fn external_bytes_go_where_they_were_cut() {
    let frame = Bytes::from_static(b"abcdef");
    let cuts = [Cut { position: 0, len: 2 }, Cut { position: 3, len: 3 }, Cut { position: 3, len: 1 }];
    let external = ["12", "3", "45", "6"].map(|it| Piece::Bytes(Bytes::from_static(it.as_bytes())));
    let response = Response::spliced(frame.clone(), &cuts, external);
    let mut whole = Vec::new();
    for piece in &response.pieces {
        let Piece::Bytes(bytes) = piece else { panic!("a file") };
        whole.extend_from_slice(bytes);
    }
    assert_eq!(whole, b"12abc3456def");
    assert_eq!(response.memory_bytes(), 12);
    assert_eq!(Response::spliced(frame, &[], []).pieces.len(), 1);
}
