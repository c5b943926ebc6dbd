//! Prometheus' text format, version 0.0.4. Pure.
//!
//! Written here and not by a crate: `prometheus-client` writes OpenMetrics alone, of which readers of this format,
//! `promtool check metrics` among them, take counters for untyped and refuse infos; and it would have each value in
//! memory that is shared, where here it is copied from whoever owns it.

use std::fmt::{Display, Write};

use super::histogram::Histogram;

/// What is served as, for the header `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The text, as it comes to be.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// The samples of one metric, which stand together.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// What only rises, or begins anew with the daemon or the watch. Its name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, Kind::Counter, help)
    }

    /// What rises and falls.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, Kind::Gauge, help)
    }

    /// How long things took.
    pub fn histogram(&mut self, name: &'static str, help: &str, histogram: &Histogram) {
        let count = histogram.count();
        let family = self.family(name, Kind::Histogram, help);
        for (bound, up_to) in histogram.buckets() {
            write(family.text, format_args!("{name}_bucket{{le=\"{bound}\"}} {up_to}\n"));
        }
        let (sum, text) = (histogram.sum(), family.text);
        write(
            text,
            format_args!("{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}\n"),
        );
    }

    fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        write(&mut self.text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { text: &mut self.text, name }
    }

    /// All of it.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// The one sample of a metric without labels.
    pub fn is(self, value: impl Display) {
        write(self.text, format_args!("{} {value}\n", self.name));
    }

    /// A sample for each item, with its labels. What may be the value of a label is escaped by nobody: names of
    /// watches and the program's own words have nothing to be escaped.
    pub fn each<'a, const N: usize, V: Display>(
        self,
        samples: impl IntoIterator<Item = ([(&'static str, &'a str); N], V)>,
    ) {
        for (labels, value) in samples {
            write(self.text, format_args!("{}{{", self.name));
            for (place, (label, of)) in labels.iter().enumerate() {
                let comma = if place == 0 { "" } else { "," };
                write(self.text, format_args!("{comma}{label}=\"{of}\""));
            }
            write(self.text, format_args!("}} {value}\n"));
        }
    }
}

fn write(text: &mut String, what: std::fmt::Arguments<'_>) {
    // To write to a text does not fail.
    let _ = text.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_written_is_the_text_format() {
        let mut exposition = Exposition::default();
        exposition.counter("a_total", "How often a.").is(3);
        let samples =
            [([("watch", "x.y"), ("outcome", "lost")], 1), ([("watch", "z"), ("outcome", "lost")], 0)];
        exposition.gauge("b", "What b is.").each(samples);
        let mut histogram = Histogram::new(&[0.0025, 1.0, 3600.0]);
        histogram.observe(Duration::from_millis(250));
        exposition.histogram("c_seconds", "How long c takes.", &histogram);
        snapbox::assert_data_eq!(
            exposition.finish(),
            snapbox::str![[r##"
# HELP a_total How often a.
# TYPE a_total counter
a_total 3
# HELP b What b is.
# TYPE b gauge
b{watch="x.y",outcome="lost"} 1
b{watch="z",outcome="lost"} 0
# HELP c_seconds How long c takes.
# TYPE c_seconds histogram
c_seconds_bucket{le="0.0025"} 0
c_seconds_bucket{le="1"} 1
c_seconds_bucket{le="3600"} 1
c_seconds_bucket{le="+Inf"} 1
c_seconds_sum 0.25
c_seconds_count 1

"##]]
        );
    }
}
