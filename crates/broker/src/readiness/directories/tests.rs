//! What a server that runs changes while its directories are looked into.

use super::*;

#[test]
fn a_log_that_is_gone_since_it_was_listed_does_not_count_and_stops_nothing() {
    let host = Host::simulated(1);
    let disk = host.disk();
    disk.create_dir_all("/d1/orders-0").expect("made");
    disk.write_atomically(Path::new("/d1/orders-0/00000000000000000000.log"), b"log").expect("written");
    let mut survey = Survey::new(&host, &Claim::default(), PathBuf::from("/d1"));
    for name in ["gone-0", "orders-0"] {
        survey.take_log(&disk, name.to_owned(), false, None).expect("goes on");
    }
    let report = &survey.report;
    assert_eq!((survey.topics.len(), report.partitions, report.bytes), (1, 1, 3));
}
