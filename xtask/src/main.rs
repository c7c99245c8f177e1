//! The project's own tool: codegen, tidy, test, compat, bench.
fn main() {}
