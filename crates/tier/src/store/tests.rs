//! Objects where Kafka's `LocalTieredStorage` looks for them.

use ottla_base::Uuid;

use super::*;
use crate::test_fixture::segment_of;

fn names(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(path.strip_prefix(folder).unwrap().display().to_string()),
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_directory_is_laid_out_as_kafkas() {
    let host = Host::real();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/tier", folder.path().display());
    let store = Store::open(&host, &StoreOptions { url, options: Vec::new() }).unwrap();
    let simulated = Host::simulated(1);
    let (mut metadata, data, log) = segment_of(&simulated, 5, 40, 9);
    metadata.id.partition.topic_id = "h-b6eSAyQ3KMj9TIYrW8Wg".parse().unwrap();
    metadata.id.id = "EM2ziGkhQyWhNmC3xwYVXw".parse().unwrap();
    store.put(&metadata, &data).await.unwrap();
    let stem = "orders-0-h-b6eSAyQ3KMj9TIYrW8Wg/00000000000000000040-EM2ziGkhQyWhNmC3xwYVXw";
    let expected: Vec<String> = [".index", ".leader_epoch_checkpoint", ".log", ".snapshot", ".timeindex"]
        .iter()
        .map(|it| format!("{stem}{it}"))
        .collect();
    assert_eq!(names(&folder.path().join("tier")), expected);
    assert_eq!(store.log(&metadata, 3..50).await.unwrap(), log[3..50]);
    let index = store.index(&metadata, SegmentFile::OffsetIndex, 1_000).await.unwrap();
    assert_eq!(index, data.offset_index);
    assert!(store.index(&metadata, SegmentFile::OffsetIndex, 7).await.is_err(), "larger than is taken");
    assert!(matches!(
        store.index(&metadata, SegmentFile::TransactionIndex, 7).await,
        Err(TierError::NotFound(_))
    ));
    assert!(store.log(&metadata, 0..metadata.size + 1).await.is_err());
    // What a stop in the middle of a write leaves goes along.
    let staged = folder.path().join("tier").join(format!("{stem}.log#1"));
    host.disk().open(&staged, ottla_host::disk::Open::Create).unwrap();
    store.delete(&metadata).await.unwrap();
    assert_eq!(names(folder.path()), Vec::<String>::new());
    store.delete(&metadata).await.unwrap();
    assert!(matches!(store.log(&metadata, 0..5).await, Err(TierError::NotFound(_))));
}

#[tokio::test]
async fn a_large_log_is_put_in_parts() {
    put_in_parts(Store::memory(&Host::simulated(1)), PART_BYTES).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::directory(&Host::real(), folder.path().to_owned()).unwrap();
    put_in_parts(store, DIRECTORY_PART_BYTES).await;
    assert!(!names(folder.path()).iter().any(|it| it.contains('#')), "nothing is left of the parts");
}

async fn put_in_parts(store: Store, part_bytes: u32) {
    let host = Host::simulated(1);
    let (mut metadata, mut data, _) = segment_of(&host, 5, 0, 3);
    let bytes: Vec<u8> = (0..part_bytes * 2 + 1_000).map(|it| (it % 251) as u8).collect();
    let file = host.disk().open("/large", ottla_host::disk::Open::Create).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    metadata.size = bytes.len() as u32;
    (data.log, data.log_bytes) = (Arc::new(file), metadata.size);
    store.put(&metadata, &data).await.unwrap();
    let begin = part_bytes - 10;
    assert_eq!(store.log(&metadata, begin..begin + 20).await.unwrap(), bytes[begin as usize..][..20]);
    assert_eq!(store.log(&metadata, 0..metadata.size).await.unwrap(), bytes);
}

#[test]
fn urls_name_stores_and_nonsense_is_refused() {
    let host = Host::simulated(1);
    let open = |url: &str, options: &[(&str, &str)]| {
        let options = options.iter().map(|it| (it.0.to_owned(), it.1.to_owned())).collect();
        Store::open(&host, &StoreOptions { url: url.to_owned(), options })
    };
    let key = |store: &Store| {
        let (metadata, ..) = segment_of(&host, 5, 40, 3);
        store.key(&metadata, ".log").to_string()
    };
    let expected = format!("orders-0-{}/{:020}-{}.log", Uuid::from_number(77), 40, Uuid::from_number(5));
    let aws = [("aws_region", "eu-west-1"), ("no_such_option", "1")];
    assert_eq!(key(&open("s3://bucket/some/prefix", &aws).unwrap()), format!("some/prefix/{expected}"));
    assert_eq!(key(&open("memory:///", &[]).unwrap()), expected);
    let azure = [("azure_storage_account_name", "account"), ("azure_storage_account_key", "c2VjcmV0")];
    assert_eq!(key(&open("az://container/prefix", &azure).unwrap()), format!("prefix/{expected}"));
    for nonsense in ["bucket", "ftp://bucket/prefix", "https://example.com/bucket", "file:relative", ""] {
        assert!(open(nonsense, &[]).is_err(), "{nonsense}");
    }
}
