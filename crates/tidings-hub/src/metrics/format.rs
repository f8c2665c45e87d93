//! The text formats of metrics.

use std::fmt::Write as _;

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricsFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own format, version 0.0.4, which every reader understands.
    Classic,
}

impl MetricsFormat {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Converts text in the format of OpenMetrics, as our registry writes it, to the classic format.
///
/// The classic format has `_total` in a counter's description too, and gauges for infos; it has no
/// lines for units and for the end.
pub(super) fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(said) = line.strip_prefix("# HELP ") {
            help = said.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|said| said.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            write!(text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n")
                .expect("writing to a String never fails");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classic_format_declares_the_names_of_its_samples() {
        let text = "# HELP a_x Words: more.\n# TYPE a_x counter\na_x_total{y=\"z\"} 1\n\
                    # HELP a_s Time.\n# TYPE a_s histogram\n# UNIT a_s seconds\na_s_sum 0.0\n\
                    # HELP a_build What.\n# TYPE a_build info\na_build_info{v=\"1\"} 1\n# EOF\n";
        assert_eq!(
            classic(text),
            "# HELP a_x_total Words: more.\n# TYPE a_x_total counter\na_x_total{y=\"z\"} 1\n\
             # HELP a_s Time.\n# TYPE a_s histogram\na_s_sum 0.0\n\
             # HELP a_build_info What.\n# TYPE a_build_info gauge\na_build_info{v=\"1\"} 1\n"
        );
    }
}
