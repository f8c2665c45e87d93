//! Each file in `tests/` is a fuzz target: `cargo test -p tidings-fuzz` tries some thousand inputs
//! of each, `cargo bolero test -p tidings-fuzz --sanitizer NONE TARGET` goes on with a fuzzer.
