//! The `Accept` header of a request (RFC 9110 12.5.1).

use axum::http::{HeaderMap, header};

/// A media type that can be served.
pub(super) struct MediaType {
    pub(super) kind: &'static str,
    pub(super) subtype: &'static str,
    /// The values of the parameter `version` that it satisfies. A range without one fits too.
    pub(super) versions: &'static [&'static str],
}

/// How much a request wants a media type, in thousandths: what the most specific range that fits
/// it says. `None` without a preference: there is no `Accept`, or no range in it can be parsed.
pub(super) fn quality(headers: &HeaderMap, media_type: &MediaType) -> Option<u16> {
    let lines = headers.get_all(header::ACCEPT).iter();
    let ranges = lines.flat_map(|line| line.to_str().unwrap_or_default().split(','));
    // Of several ranges that are as specific, as of two versions, the best counts.
    let rank = |range: Range<'_>| match range.fit(media_type) {
        Fit::None => (Fit::None, 0),
        fit => (fit, range.quality),
    };
    ranges.filter_map(Range::parse).map(rank).max().map(|(_, quality)| quality)
}

/// How a range fits a media type; the most specific range decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    None,
    Any,
    Kind,
    Type,
    Version,
}

/// A media range.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    version: Option<&'a str>,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = match parts.next()? {
            // As Java's own client writes it.
            "*" => ("*", "*"),
            range => range.split_once('/')?,
        };
        if kind.is_empty() || subtype.is_empty() {
            return None;
        }
        let mut range = Self { kind, subtype, version: None, quality: 1000 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("version") {
                range.version = Some(value);
            } else if name.trim().eq_ignore_ascii_case("q") {
                let quality: Option<f32> = value.parse().ok();
                let quality = quality.filter(|value| (0.0..=1.0).contains(value))?;
                range.quality = (quality * 1000.0).round() as u16;
            }
        }
        Some(range)
    }

    fn fit(&self, media_type: &MediaType) -> Fit {
        let MediaType { kind, subtype, versions } = media_type;
        match (self.kind, self.subtype, self.version) {
            ("*", "*", _) => Fit::Any,
            (own, "*", _) if own.eq_ignore_ascii_case(kind) => Fit::Kind,
            (own, sub, version)
                if own.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subtype) =>
            {
                match version {
                    Some(version) if !versions.is_empty() => {
                        if versions.contains(&version) {
                            Fit::Version
                        } else {
                            Fit::None
                        }
                    }
                    _ => Fit::Type,
                }
            }
            _ => Fit::None,
        }
    }
}
