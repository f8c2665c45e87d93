//! `/metrics`: the hub's metrics, in the format that the request prefers.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;

use super::accept_header::{self, MediaType};
use crate::hub::Hub;
use crate::metrics::{MetricsFormat, Readings};

pub(super) async fn metrics(State(hub): State<Hub>, headers: HeaderMap) -> impl IntoResponse {
    let format = preferred(&headers);
    let readings = Readings {
        journal: hub.journal(),
        requests: hub.request_budget(),
        selector_bytes: hub.compiler().kept_bytes(),
        presence_dropped: hub.presence().dropped(),
    };
    let text = hub.metrics().encode(&readings, format);
    ([(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")], text)
}

const OPEN_METRICS: MediaType =
    MediaType { kind: "application", subtype: "openmetrics-text", versions: &["1.0.0", "0.0.1"] };
/// Text in version 0.0.4 is also valid in 1.0.0.
const CLASSIC: MediaType =
    MediaType { kind: "text", subtype: "plain", versions: &["0.0.4", "1.0.0"] };

/// The format that a request prefers. One without a preference, or that accepts neither, gets
/// the classic one.
fn preferred(headers: &HeaderMap) -> MetricsFormat {
    if accept_header::quality(headers, &OPEN_METRICS) > accept_header::quality(headers, &CLASSIC) {
        MetricsFormat::OpenMetrics
    } else {
        MetricsFormat::Classic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: MetricsFormat) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT, line.parse().unwrap());
        }
        assert_eq!(preferred(&headers), expected, "{lines:?}");
    }

    #[test]
    fn the_format_is_what_the_request_prefers() {
        use MetricsFormat::{Classic, OpenMetrics};
        check(&[], Classic);
        check(&[""], Classic);
        check(&["*/*"], Classic);
        check(&["text/*"], Classic);
        check(&["text/plain"], Classic);
        check(&["text/plain;version=0.0.4"], Classic);
        check(&["text/plain; version=\"0.0.4\"; charset=utf-8"], Classic);
        check(&["text/html, */*;q=0.8"], Classic);
        check(&["application/json"], Classic);
        check(
            &["application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily"],
            Classic,
        );
        check(&["application/openmetrics-text"], OpenMetrics);
        check(&["Application/OpenMetrics-Text; Version=1.0.0"], OpenMetrics);
        check(&["application/openmetrics-text;version=0.0.1"], OpenMetrics);
        check(&["application/openmetrics-text;version=2.0.0"], Classic);
        check(&["application/*"], OpenMetrics);
        check(&["application/*;q=0.5, */*;q=0.4"], OpenMetrics);
        check(&["application/openmetrics-text;q=0"], Classic);
        check(&["application/openmetrics-text;q=0, */*"], Classic);
        check(&["text/plain;q=0, */*;q=0.1"], OpenMetrics);
        check(&["text/plain;q=0.5, application/openmetrics-text;q=0.4"], Classic);
        check(&["text/plain;q=0.4, application/openmetrics-text;q=0.5"], OpenMetrics);
        check(&["text/plain;q=0.9", "application/openmetrics-text"], OpenMetrics);
        check(&["text/plain, application/openmetrics-text"], Classic);
        check(&["application/openmetrics-text;q=2, text/plain;q=0.1"], Classic);
        // What Prometheus 2 and 3 send.
        check(
            &["application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
               version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"],
            OpenMetrics,
        );
        check(
            &["application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
               application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;\
               escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,/;q=0.1"],
            OpenMetrics,
        );
    }
}
