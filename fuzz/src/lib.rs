//! The tests in `tests/` are fuzz targets of public functions. Private parsers are fuzzed beside
//! their code: `cargo bolero list` names all targets.
//!
//! As plain tests, the targets try some thousands of inputs each, and `TIDINGS_SEED` repeats them.
//! `cargo bolero test -p tidings-fuzz --sanitizer NONE TARGET` continues with a fuzzer.
