//! How `subscribe` and `tail` print events.

use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
pub(crate) struct FormatArgs {
    /// How to print each event
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with_all = ["format", "data_only"])]
    json: bool,
    /// The same as --format data
    #[arg(long, conflicts_with = "format")]
    data_only: bool,
}

impl FormatArgs {
    pub(crate) fn chosen(&self) -> Format {
        match (self.json, self.data_only) {
            (true, _) => Format::Json,
            (_, true) => Format::Data,
            _ => self.format,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// To read: a line with the time, the topics if the server tells them, the type and the id,
    /// then the data, indented
    #[default]
    Text,
    /// One JSON object per line, with time, topics, type, id and data
    Json,
    /// The data alone
    Data,
    /// The type, data and id, in the form of an event stream
    Stream,
}
