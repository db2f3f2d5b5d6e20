//! The table: what was measured beside the bounds that the project has set itself, and the plain figures behind it.

use std::io::Write;

use anyhow::Result;

use super::stage::{BESIDE, DIRECT, ROUTER, TRANSLATED};
use super::{Gathered, Round, Sample};
use crate::load::{closed, open, streams};

/// Prints it.
///
/// # Errors
/// Nobody reads.
pub(crate) fn print(gathered: &Gathered) -> Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "{}", text(gathered))?;
    Ok(out.flush()?)
}

/// A figure with its bound.
struct Row {
    what: String,
    /// None: it could not be measured.
    value: Option<f64>,
    unit: &'static str,
    bound: f64,
    /// Whether the bound is the least instead of the most.
    least: bool,
}

fn text(gathered: &Gathered) -> String {
    let rounds = &gathered.rounds;
    let extent = &gathered.extent;
    let foreign = median(rounds.iter().flat_map(|round| round.closed.iter().map(|sample| sample.foreign)));
    let mut out = format!(
        "rounds: {}, {} s each phase; load average {:.1} before, {:.1} after; {:.1} CPUs kept busy by others; key check on, metrics {}\n\n",
        extent.rounds,
        extent.seconds,
        gathered.load[0],
        gathered.load[1],
        foreign.unwrap_or(0.0),
        if gathered.metrics { "on" } else { "NOT on: this build has none" },
    );
    out.push_str("| Figure | Measured | Bound | |\n|---|---|---|---|\n");
    for row in figures(gathered) {
        let sign = if row.least { '≥' } else { '≤' };
        let (value, verdict) = match row.value {
            None => ("not measured".to_owned(), ""),
            Some(value) => {
                let holds = if row.least { value >= row.bound } else { value <= row.bound };
                (format!("{value:.2}{}", row.unit), if holds { "holds" } else { "**does not hold**" })
            }
        };
        out.push_str(&format!("| {} | {value} | {sign} {}{} | {verdict} |\n", row.what, row.bound, row.unit));
    }
    out.push_str(
        "\nClosed loop, 64 connections (medians; `gateway` and `load` are shares of one core, load is upstream and load generator):\n\n\
         | Lane | Requests/s | CPU µs/request | p50 µs | p99 µs | gateway | load |\n|---|---|---|---|---|---|---|\n",
    );
    for lane in names(rounds.iter().flat_map(|round| round.closed.iter().map(|sample| sample.lane))) {
        let of = |figure: fn(&Sample<closed::Found>) -> f64| {
            over_rounds(rounds, |round| at(&round.closed, lane).map(figure))
        };
        out.push_str(&format!(
            "| {lane} | {:.0} | {:.1} | {:.0} | {:.0} | {:.0} % | {:.0} % |\n",
            of(|sample| sample.found.rate),
            of(cpu_per_answer) * 1e6,
            of(|sample| sample.found.latency.p50),
            of(|sample| sample.found.latency.p99),
            of(|sample| sample.gateway / sample.took * 100.0),
            of(|sample| sample.ours / sample.took * 100.0),
        ));
    }
    out.push_str("\n500 requests/s, open loop, latency from the due time (`late`: the load generator's own part of it):\n\n| Lane | p50 µs | p99 µs | late p50 µs |\n|---|---|---|---|\n");
    for lane in names(rounds.iter().flat_map(|round| round.open.iter().map(|sample| sample.lane))) {
        let of = |figure: fn(&open::Found) -> f64| {
            over_rounds(rounds, |round| at(&round.open, lane).map(|sample| figure(&sample.found)))
        };
        out.push_str(&format!(
            "| {lane} | {:.0} | {:.0} | {:.0} |\n",
            of(|found| found.latency.p50),
            of(|found| found.latency.p99),
            of(|found| found.late.p50),
        ));
    }
    out.push_str("\n100 streams, 64 chunks, first after 50 ms, then 10 ms apart:\n\n| Lane | First chunk p50 ms | First chunk's way p50 µs | Chunk's way p50 µs | p99 µs | CPU µs/chunk |\n|---|---|---|---|---|---|\n");
    for lane in names(rounds.iter().flat_map(|round| round.streams.iter().map(|sample| sample.lane))) {
        let of = |figure: fn(&Sample<streams::Found>) -> f64| {
            over_rounds(rounds, |round| at(&round.streams, lane).map(figure))
        };
        out.push_str(&format!(
            "| {lane} | {:.2} | {:.0} | {:.0} | {:.0} | {:.1} |\n",
            of(|sample| sample.found.first.p50 / 1000.0),
            of(|sample| sample.found.first_delay.p50),
            of(|sample| sample.found.delay.p50),
            of(|sample| sample.found.delay.p99),
            of(cpu_per_chunk) * 1e6,
        ));
    }
    let growth: Vec<String> = gathered.memory.growth.iter().map(|mebibytes| format!("{mebibytes:.1}")).collect();
    out.push_str(&format!("\nMiB after each tenth of {} requests: {}\n", extent.requests, growth.join(", ")));
    out
}

fn figures(gathered: &Gathered) -> Vec<Row> {
    let rounds = &gathered.rounds;
    let most = |what: &str, value, bound, unit| Row { what: what.to_owned(), value, unit, bound, least: false };
    let closed = |figure: fn(&Sample<closed::Found>) -> f64, one, other| {
        median(
            rounds.iter().filter_map(|round| ratio(figure(at(&round.closed, one)?), figure(at(&round.closed, other)?))),
        )
    };
    let added = |round: &Round, lane| {
        Some(at(&round.open, lane)?.found.latency.p50 - at(&round.open, DIRECT)?.found.latency.p50)
    };
    let memory = &gathered.memory;
    // What the first tenth adds is pools and buffers filling up to the number of connections.
    let growth = memory.growth.first().zip(memory.growth.last()).map(|(first, last)| last - first);
    vec![
        most("CPU per request, same dialect, to nginx's", closed(cpu_per_answer, ROUTER, BESIDE), 2.2, "×"),
        Row {
            what: "requests/s, same dialect, to nginx's".to_owned(),
            value: closed(|sample| sample.found.rate, ROUTER, BESIDE),
            unit: "×",
            bound: 0.5,
            least: true,
        },
        most(
            "CPU per request, Anthropic in and `openai_chat` out, to same dialect",
            closed(cpu_per_answer, TRANSLATED, ROUTER),
            1.4,
            "×",
        ),
        most(
            "p50 added at 500 requests/s, to what nginx adds",
            median(rounds.iter().filter_map(|round| ratio(added(round, ROUTER)?, added(round, BESIDE)?))),
            1.5,
            "×",
        ),
        most(
            "CPU per chunk, 100 streams, to nginx's",
            median(rounds.iter().filter_map(|round| {
                ratio(cpu_per_chunk(at(&round.streams, ROUTER)?), cpu_per_chunk(at(&round.streams, BESIDE)?))
            })),
            1.5,
            "×",
        ),
        most(
            "time to first chunk added, p50",
            median(rounds.iter().filter_map(|round| {
                let first = |lane| Some(at(&round.streams, lane)?.found.first.p50 / 1000.0);
                Some(first(ROUTER)? - first(DIRECT)?)
            })),
            1.0,
            " ms",
        ),
        most("resident memory after 1,000 streams at once", Some(memory.after_streams), 60.0, " MiB"),
        most("resident memory idle", Some(memory.idle), 30.0, " MiB"),
        most("first answer after start, median", median(gathered.starts.iter().copied()), 50.0, " ms"),
        most(
            &format!("resident memory growth over {} requests, after the first tenth", gathered.extent.requests),
            growth,
            1.0,
            " MiB",
        ),
    ]
}

fn cpu_per_answer(sample: &Sample<closed::Found>) -> f64 {
    sample.gateway / sample.found.answers.max(1) as f64
}

fn cpu_per_chunk(sample: &Sample<streams::Found>) -> f64 {
    sample.gateway / sample.found.chunks.max(1) as f64
}

fn at<'a, T>(samples: &'a [Sample<T>], lane: &str) -> Option<&'a Sample<T>> {
    samples.iter().find(|sample| sample.lane == lane)
}

fn names<'a>(lanes: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    lanes.fold(Vec::new(), |mut known, lane| {
        if !known.contains(&lane) {
            known.push(lane);
        }
        known
    })
}

/// None where the other is nothing, or less: differences of noise give no ratio.
fn ratio(one: f64, other: f64) -> Option<f64> {
    (other > 0.0).then(|| one / other)
}

fn over_rounds(rounds: &[Round], figure: impl Fn(&Round) -> Option<f64>) -> f64 {
    median(rounds.iter().filter_map(figure)).unwrap_or(f64::NAN)
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// Between which of the values their median lies with at least 95 % certainty, as the binomial distribution has it; the outermost two where they are too few for that.
pub(super) fn between(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let count = values.len();
    let (mut outside, mut chance) = (0, 0.5_f64.powi(count as i32));
    let mut below = chance;
    while below <= 0.025 && 2 * outside + 2 < count {
        outside += 1;
        chance *= (count + 1 - outside) as f64 / outside as f64;
        below += chance;
    }
    let outside = outside.saturating_sub(1);
    Some((*values.get(outside)?, *values.get(count.checked_sub(outside + 1)?)?))
}

#[cfg(test)]
mod tests {
    use super::super::{Memory, QUICK};
    use super::*;
    use crate::load::Times;

    fn closed(lane: &'static str, gateway: f64, rate: f64) -> Sample<closed::Found> {
        let found = closed::Found { answers: 1000, rate, latency: Times::default() };
        Sample { lane, found, gateway, ours: 0.1, foreign: 0.0, took: 1.0 }
    }

    #[test]
    fn ratios_are_taken_inside_a_round_and_held_against_their_bounds() {
        // The second round met a machine half as fast: the ratio is the same.
        let round = |slow: f64| Round {
            closed: vec![closed(BESIDE, 0.02 * slow, 1000.0 / slow), closed(ROUTER, 0.04 * slow, 400.0 / slow)],
            ..Round::default()
        };
        let gathered = Gathered {
            extent: QUICK,
            load: [0.0, 0.0],
            starts: vec![30.0, 60.0, 40.0],
            metrics: true,
            memory: Memory { idle: 10.0, after_streams: 70.0, growth: vec![20.0, 20.5] },
            rounds: vec![round(1.0), round(2.0)],
        };
        let text = text(&gathered);
        for line in [
            "| CPU per request, same dialect, to nginx's | 2.00× | ≤ 2.2× | holds |",
            "| requests/s, same dialect, to nginx's | 0.40× | ≥ 0.5× | **does not hold** |",
            "| CPU per request, Anthropic in and `openai_chat` out, to same dialect | not measured | ≤ 1.4× |  |",
            "| resident memory after 1,000 streams at once | 70.00 MiB | ≤ 60 MiB | **does not hold** |",
            "| first answer after start, median | 40.00 ms | ≤ 50 ms | holds |",
            "| resident memory growth over 20000 requests, after the first tenth | 0.50 MiB | ≤ 1 MiB | holds |",
        ] {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn the_median_of_two_lies_between_them() {
        assert_eq!(median([3.0, 1.0].into_iter()), Some(2.0));
        assert_eq!(median(std::iter::empty()), None);
        assert_eq!(ratio(1.0, -0.5), None);
    }

    #[test]
    fn the_median_of_twelve_lies_between_the_third_and_the_tenth() {
        let values = |count: u32| (1..=count).rev().map(f64::from);
        assert_eq!(between(values(12)), Some((3.0, 10.0)));
        assert_eq!(between(values(4)), Some((1.0, 4.0)));
        assert_eq!(between(values(0)), None);
    }
}
