//! Decodes test cases, and prints the events of each as a line of JSON.

use std::io::Write;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::json;
use tidings_sse::{Decoder, Item, Limits};

#[derive(Deserialize)]
struct Case {
    name: String,
    chunks_hex: Vec<String>,
}

pub(super) fn run(cases: &[u8], out: &mut impl Write) -> anyhow::Result<()> {
    let cases: Vec<Case> = serde_json::from_slice(cases)
        .context("the cases are not JSON of the format of conformance/decode.json")?;
    for case in cases {
        let decoded = decode(&case).with_context(|| format!("case {:?}", case.name))?;
        writeln!(out, "{decoded}")?;
    }
    Ok(())
}

fn decode(case: &Case) -> anyhow::Result<serde_json::Value> {
    let mut decoder = Decoder::new(Limits::default());
    let mut events = Vec::new();
    let mut retry = None;
    for chunk in &case.chunks_hex {
        decoder.push(&bytes(chunk)?);
        while let Some(item) = decoder.next() {
            match item {
                Item::Event(event) => events.push(json!({
                    "event": event.event_type(),
                    "data": event.data(),
                    "id": event.last_event_id(),
                })),
                Item::Retry(time) => retry = u64::try_from(time.as_millis()).ok(),
                _ => {}
            }
        }
    }
    decoder.end_stream();
    Ok(json!({
        "name": case.name,
        "events": events,
        "retry": retry,
        "last_event_id": decoder.last_event_id(),
    }))
}

fn bytes(hex: &str) -> anyhow::Result<Vec<u8>> {
    let digits: Option<Vec<u32>> = hex.chars().map(|one| one.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0);
    let digits = digits.with_context(|| format!("{hex:?} is not hexadecimal"))?;
    Ok(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_cases_decode_to_the_expected_events() {
        let cases = include_bytes!("../../../../../conformance/decode.json");
        let expected: Vec<serde_json::Value> = serde_json::from_slice(cases).unwrap();
        let mut out = Vec::new();
        run(cases, &mut out).unwrap();
        let lines: Vec<_> = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), expected.len());
        for (line, expected) in lines.iter().zip(&expected) {
            let found: serde_json::Value = serde_json::from_str(line).unwrap();
            for key in ["name", "events", "last_event_id"] {
                assert_eq!(found[key], expected[key], "{}", expected["name"]);
            }
            let within = |value: &serde_json::Value| value.as_u64().map(|n| n.min((1 << 53) - 1));
            assert_eq!(within(&found["retry"]), within(&expected["retry"]), "{}", expected["name"]);
        }
    }

    #[test]
    fn invalid_cases_are_errors() {
        for bad in ["", "{}", r#"[{"name":"a"}]"#, r#"[{"name":"a","chunks_hex":["0"]}]"#] {
            assert!(run(bad.as_bytes(), &mut Vec::new()).is_err(), "{bad}");
        }
        assert!(run(r#"[{"name":"a","chunks_hex":["zz"]}]"#.as_bytes(), &mut Vec::new()).is_err());
    }
}
