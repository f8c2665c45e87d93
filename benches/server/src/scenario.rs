//! What the streams are made of.

/// A load.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) streams: usize,
    /// Events on each stream.
    pub(crate) events: usize,
    pub(crate) source: Source,
}

/// How the events of a stream come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// To all streams at once, so many together, then a pause of 10 ms.
    Broadcast(usize),
    /// Each stream has all of its own at hand.
    AtHand,
    /// One, so that all is there that a stream needs; then what it takes is measured.
    Once,
}

pub(crate) const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "one",
        title: "one event at a time, 400 streams",
        streams: 400,
        events: 600,
        source: Source::Broadcast(1),
    },
    Scenario {
        name: "eight",
        title: "eight at a time, 200 streams",
        streams: 200,
        events: 4800,
        source: Source::Broadcast(8),
    },
    Scenario {
        name: "at-hand",
        title: "all at hand, 50 streams",
        streams: 50,
        events: 40_000,
        source: Source::AtHand,
    },
    Scenario {
        name: "idle",
        title: "2,000 streams that had an event",
        streams: 2000,
        events: 1,
        source: Source::Once,
    },
];

pub(crate) fn named(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// What a token of a language model looks like.
pub(crate) const DATA: &str = r#"{"id":"chatcmpl-9x","object":"chat.completion.chunk","created":1700000000,"choices":[{"index":0,"delta":{"content":" tidings"},"finish_reason":null}]}"#;
