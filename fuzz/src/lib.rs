//! Each file in `tests/` is a fuzz target: `cargo test -p tidings-fuzz` tries some thousands of
//! inputs for each, `cargo bolero test -p tidings-fuzz --sanitizer NONE TARGET` continues with a
//! fuzzer.
