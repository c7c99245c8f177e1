//! Tests of a log directory's lock.

use ottla_host::Host;

use super::*;

#[test]
fn a_directory_belongs_to_one() {
    let disk = Host::simulated(1).disk();
    let held = lock_log_directory(&disk, Path::new("/")).unwrap();
    let refused = lock_log_directory(&disk, Path::new("/")).map(drop).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    assert!(refused.to_string().contains("/.lock"), "{refused}");
    drop(held);
    assert!(lock_log_directory(&disk, Path::new("/")).is_ok());
}
