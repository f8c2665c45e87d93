//! Retention: updates sorted into classes, one for each rule, and trimmed by the class's bounds.

mod classes;
mod trim;

pub(crate) use classes::{Classes, TABLE, check};
pub(crate) use trim::{TrimmedUpdate, Trimming};
