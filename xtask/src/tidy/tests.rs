//! Each rule of tidy, shown to catch what it is for.

use super::dependencies::is_allowed;
use super::source::check_rust;

#[track_caller]
fn check(path: &str, text: &str, expected: &[&str]) {
    let mut broken = Vec::new();
    check_rust(path, text, &mut broken);
    assert_eq!(broken.len(), expected.len(), "{broken:#?}");
    for (line, part) in broken.iter().zip(expected) {
        assert!(line.contains(part), "{line:?} does not contain {part:?}");
    }
}

#[test]
fn a_good_file_passes() {
    check("crates/base/src/x.rs", "//! Says what it is for.\nfn one() {\n}\n", &[]);
}

#[test]
fn a_file_says_what_it_is_for() {
    check("crates/base/src/x.rs", "fn one() {}\n", &["must open with"]);
}

#[test]
fn unfinished_work_is_found() {
    let text = format!("//! X.\nfn one() {{ {}); }}\n", concat!("todo", "!("));
    check("crates/base/src/x.rs", &text, &["unfinished work"]);
}

#[test]
fn pure_crates_stay_pure() {
    check("crates/raft/src/x.rs", "//! X.\nasync fn one() {}\n", &["no place in a pure crate"]);
    check("crates/broker/src/x.rs", "//! X.\nasync fn one() {}\n", &[]);
}

#[test]
fn only_host_is_unsafe() {
    let text = format!("//! X.\nfn one() {{ {} }} }}\n", concat!("unsafe", " {"));
    check("crates/broker/src/x.rs", &text, &["is for `host` alone"]);
    check("crates/host/src/x.rs", &text, &[]);
}

#[test]
fn long_functions_and_files_are_found() {
    let long = format!("//! X.\nfn long() {{\n{}}}\n", "    one();\n".repeat(150));
    check("crates/base/src/x.rs", &long, &["`long` has 152 lines"]);
    let file = format!("//! X.\n{}", "const A: u8 = 1;\n".repeat(900));
    check("crates/base/src/x.rs", &file, &["901 lines"]);
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"].map(str::to_owned);
    for good in [
        "MIT",
        "MIT OR GPL-3.0",
        "GPL-3.0/MIT",
        "(MIT OR Zlib) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in
        ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Zlib) AND Zlib", "MIT WITH Classpath-exception-2.0"]
    {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}
