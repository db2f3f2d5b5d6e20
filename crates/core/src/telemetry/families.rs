//! What was counted, as values: a family of points for each metric, and their text for Prometheus. OpenTelemetry's form of the same is made elsewhere.

use std::fmt::Write;

/// A label's name and its value.
type Label = (&'static str, String);

/// Labels, as a point has them.
pub fn labels<'a>(labels: impl IntoIterator<Item = (&'static str, &'a str)>) -> Vec<Label> {
    labels.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// What a family's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They go up and down.
    Gauge,
    /// How often something was in which range.
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric with all that was counted under it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// What its numbers are.
    pub kind: Kind,
    /// Its numbers.
    pub points: Vec<Point>,
}

/// One number of a family, or one histogram.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Point {
    /// What it is the number of.
    pub labels: Vec<Label>,
    /// The number.
    pub value: Value,
}

/// A number.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A whole one.
    Count(u64),
    /// Another one.
    Number(f64),
    /// How many were in which range.
    Histogram(Histogram),
}

/// How many were in which range.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Histogram {
    /// The upper bounds of the ranges, in seconds; what is above the last has a range of its own.
    pub bounds: &'static [f64],
    /// How many were in each range.
    pub counts: Vec<u64>,
    /// All of them together, in seconds.
    pub sum: f64,
}

impl Family {
    /// A family of numbers that only grow.
    pub fn counter(name: &'static str, help: &'static str, points: impl IntoIterator<Item = Point>) -> Self {
        Self { name, help, kind: Kind::Counter, points: points.into_iter().collect() }
    }

    /// A family of numbers that go up and down.
    pub fn gauge(name: &'static str, help: &'static str, points: impl IntoIterator<Item = Point>) -> Self {
        Self { kind: Kind::Gauge, ..Self::counter(name, help, points) }
    }

    /// A family of histograms.
    pub fn histogram(name: &'static str, help: &'static str, points: impl IntoIterator<Item = Point>) -> Self {
        Self { kind: Kind::Histogram, ..Self::counter(name, help, points) }
    }
}

impl Point {
    /// A whole number.
    pub fn count(labels: Vec<Label>, count: u64) -> Self {
        Self { labels, value: Value::Count(count) }
    }

    /// Another number.
    pub fn number(labels: Vec<Label>, number: f64) -> Self {
        Self { labels, value: Value::Number(number) }
    }

    /// Micro-dollars, in dollars.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn dollars(labels: Vec<Label>, micros: u64) -> Self {
        Self::number(labels, micros as f64 / 1e6)
    }

    /// A histogram.
    pub fn histogram(labels: Vec<Label>, histogram: Histogram) -> Self {
        Self { labels, value: Value::Histogram(histogram) }
    }
}

/// Families as Prometheus reads them.
#[must_use]
pub fn prometheus(families: &[Family]) -> String {
    let mut out = String::new();
    for Family { name, help, kind, points } in families {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
        for point in points {
            write(&mut out, name, point);
        }
    }
    out
}

fn write(out: &mut String, name: &str, point: &Point) {
    let labels = point.labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escape(value)));
    let labels = labels.collect::<Vec<_>>().join(",");
    let within = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let histogram = match &point.value {
        Value::Count(count) => {
            let _ = writeln!(out, "{name}{within} {count}");
            return;
        }
        Value::Number(number) => {
            let _ = writeln!(out, "{name}{within} {number}");
            return;
        }
        Value::Histogram(histogram) => histogram,
    };
    let before = if labels.is_empty() { String::new() } else { format!("{labels},") };
    let mut below = 0;
    let bounds = histogram.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
    for (bound, count) in bounds.zip(&histogram.counts) {
        below += count;
        let _ = writeln!(out, "{name}_bucket{{{before}le=\"{bound}\"}} {below}");
    }
    let _ = writeln!(out, "{name}_sum{within} {}\n{name}_count{within} {below}", histogram.sum);
}

fn escape(label: &str) -> String {
    label.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_each_kind() {
        let histogram = Histogram { bounds: &[0.5, 1.0], counts: vec![2, 0, 1], sum: 7.25 };
        let families = [
            Family::counter("a", "A.", [Point::count(labels([("x", "a\"b\\c\n")]), 3)]),
            Family::gauge("b", "B.", [Point::number(Vec::new(), 0.5)]),
            Family::histogram("c", "C.", [Point::histogram(labels([("x", "y")]), histogram)]),
        ];
        let text = "# HELP a A.\n# TYPE a counter\na{x=\"a\\\"b\\\\c\\n\"} 3\n# HELP b B.\n# TYPE b gauge\nb 0.5\n\
            # HELP c C.\n# TYPE c histogram\nc_bucket{x=\"y\",le=\"0.5\"} 2\nc_bucket{x=\"y\",le=\"1\"} 2\n\
            c_bucket{x=\"y\",le=\"+Inf\"} 3\nc_sum{x=\"y\"} 7.25\nc_count{x=\"y\"} 3\n";
        assert_eq!(prometheus(&families), text);
    }
}
