//! What was measured as SVG, drawn with the page's own colours.

use std::fmt::Write as _;

use crate::measure::{Measured, shown};
use crate::perf::{Performance, Step};

/// Width and height of a plot, and the margins of its axes, in units of its view box.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 30.0;

/// The picture of a series of values: their place from left to right in 0 to 1, and on the scale in 0 to 1.
struct Frame {
    svg: String,
}

impl Frame {
    fn new(label: &str) -> Self {
        let svg = format!(
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\"><title>{label}</title>"
        );
        Self { svg }
    }

    fn x(share: f64) -> f64 {
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(share: f64) -> f64 {
        HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }

    /// A line across at `share` of the height, with its name.
    fn rule(&mut self, share: f64, name: &str) {
        let y = Self::y(share);
        // Writing to a String does not fail.
        let _ = write!(
            self.svg,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" class=\"rule\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0
        );
    }

    /// A name under the plot.
    fn tick(&mut self, share: f64, name: &str) {
        let anchor = if share <= 0.0 {
            "start"
        } else if share >= 1.0 {
            "end"
        } else {
            "middle"
        };
        let _ = write!(
            self.svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{name}</text>",
            Self::x(share),
            HEIGHT - 10.0
        );
    }

    fn end(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }
}

/// A scale of milliseconds by tens.
struct Tens {
    low: f64,
    high: f64,
}

impl Tens {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::MAX, 0.001), |(low, high): (f64, f64), ms| (low.min(ms), high.max(ms)));
        let low = low.clamp(0.001, high).log10().floor();
        Self { low, high: high.log10().ceil().max(low + 1.0) }
    }

    fn share(&self, ms: f64) -> f64 {
        (ms.max(0.001).log10() - self.low) / (self.high - self.low)
    }

    fn rules(&self, frame: &mut Frame) {
        let mut power = self.low;
        while power <= self.high {
            frame.rule((power - self.low) / (self.high - self.low), &plain(10_f64.powf(power)));
            power += 1.0;
        }
    }
}

/// `100 ms`, `0.1 ms`, `10 s`: powers of ten, without digits that mean nothing.
fn plain(ms: f64) -> String {
    if ms >= 1_000.0 { format!("{} s", ms / 1_000.0) } else { format!("{} ms", (ms * 1_000.0).round() / 1_000.0) }
}

/// A name and a colour of the page.
fn key(entries: &[(&str, &str)]) -> String {
    let mut out = String::from("<ul class=\"key\">");
    for (name, colour) in entries {
        let _ = write!(out, "<li><i style=\"background:var({colour})\"></i>{name}</li>");
    }
    out.push_str("</ul>");
    out
}

/// Seconds of the run under a plot.
fn seconds(frame: &mut Frame, end: f64) {
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        frame.tick(share, &format!("{:.0} s", end * share));
    }
}

/// Handshakes and answers over the run, and how many were sent; nothing where nothing was measured.
pub(super) fn run(measured: &Measured) -> String {
    if measured.handshakes.is_empty() {
        return String::new();
    }
    // Of the checks: performance and stress come behind them, on an account of their own.
    let bins = measured.handshakes_sent.len().max(measured.messages_sent.len()) as u64;
    let end = number(bins.saturating_mul(measured.bin_seconds).max(1));
    let all = || measured.handshakes.iter().chain(&measured.answers);
    let scale = Tens::of(all().map(|[_, ms]| *ms));
    let mut frame = Frame::new("How long handshakes and answers took, over the run");
    scale.rules(&mut frame);
    seconds(&mut frame, end);
    for at in &measured.limited {
        let x = Frame::x(at / end);
        let _ = write!(
            frame.svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" style=\"stroke:var(--medium)\" stroke-dasharray=\"3 3\"/>",
            HEIGHT - BOTTOM
        );
    }
    for (points, colour) in [(&measured.answers, "--pass"), (&measured.handshakes, "--info")] {
        let _ = write!(frame.svg, "<g style=\"fill:var({colour})\" fill-opacity=\"0.75\">");
        for [at, ms] in points {
            let (x, y) = (Frame::x(at / end), Frame::y(scale.share(*ms)));
            let _ = write!(frame.svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.2\"/>");
        }
        frame.svg.push_str("</g>");
    }
    let mut out = String::from("<h3>How long handshakes and answers took</h3>");
    out.push_str(&figures(measured));
    let _ = write!(out, "<div class=\"wide\">{}</div>", frame.end());
    let mut names = vec![("handshake", "--info"), ("answer to a message", "--pass")];
    if !measured.limited.is_empty() {
        names.push(("the target limited the audit", "--medium"));
    }
    out.push_str(&key(&names));
    let _ = write!(out, "<h3>What was sent in {}</h3><div class=\"wide\">", unit(measured));
    out.push_str(&rates(measured, end));
    out.push_str("</div>");
    out.push_str(&key(&[("handshakes", "--info"), ("messages", "--pass")]));
    out
}

/// Medians and tails in a sentence.
fn figures(measured: &Measured) -> String {
    let of = |name: &str, times: &Option<crate::measure::Distribution>| {
        times.as_ref().map(|times| {
            format!(
                "{} {name}: p50 {}, p95 {}, p99 {}",
                times.count,
                shown(times.p50_ms),
                shown(times.p95_ms),
                shown(times.p99_ms)
            )
        })
    };
    let told: Vec<String> =
        [of("handshakes", &measured.handshake), of("answers", &measured.answer)].into_iter().flatten().collect();
    format!("<p class=\"soft\">{}.</p>", told.join("; "))
}

/// What a column stands for.
fn unit(measured: &Measured) -> String {
    if measured.bin_seconds <= 1 { "a second".to_owned() } else { format!("{} s", measured.bin_seconds) }
}

fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Two columns for each part of the run, on one scale of counts.
fn rates(measured: &Measured, end: f64) -> String {
    let most = measured.handshakes_sent.iter().chain(&measured.messages_sent).copied().max().unwrap_or(0).max(1);
    let top = round_up(most);
    let mut frame = Frame::new(&format!("Handshakes and messages sent in {}", unit(measured)));
    for (share, count) in [(0.0, 0), (0.5, top / 2), (1.0, top)] {
        if share < 0.6 && share > 0.4 && !top.is_multiple_of(2) {
            continue;
        }
        frame.rule(share, &count.to_string());
    }
    seconds(&mut frame, end);
    let bin = number(measured.bin_seconds.max(1));
    let width = (WIDTH - LEFT - RIGHT) * bin / end.max(bin);
    for (counts, colour, offset) in
        [(&measured.handshakes_sent, "--info", 0.05), (&measured.messages_sent, "--pass", 0.5)]
    {
        let _ = write!(frame.svg, "<g style=\"fill:var({colour})\">");
        let mut at = 0.0;
        for count in counts {
            if *count > 0 && at < end {
                let y = Frame::y(number(*count) / number(top));
                let _ = write!(
                    frame.svg,
                    "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                    Frame::x(at / end) + width * offset,
                    (width * 0.43).max(1.0),
                    Frame::y(0.0) - y
                );
            }
            at += bin;
        }
        frame.svg.push_str("</g>");
    }
    frame.end()
}

/// The next of 1, 2, 5 and their tens.
fn round_up(count: u64) -> u64 {
    let mut unit = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            let top = unit.saturating_mul(factor);
            if top >= count {
                return top;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// What of a step is drawn.
type Of = fn(&Step) -> f64;

/// Round trips by sockets at a time; nothing with fewer than two steps.
pub(super) fn ramp(performance: &Performance) -> String {
    let steps = &performance.ramp.steps;
    if steps.len() < 2 {
        return String::new();
    }
    let scale = Tens::of(steps.iter().flat_map(|step| [step.ping.p50_ms, step.ping.p95_ms, step.ping.p99_ms]));
    let mut frame = Frame::new("Round trip of pings by sockets at a time");
    scale.rules(&mut frame);
    let last = f64::from(u32::try_from(steps.len().saturating_sub(1)).unwrap_or(u32::MAX)).max(1.0);
    let place = |index: usize| 0.02 + 0.96 * f64::from(u32::try_from(index).unwrap_or(u32::MAX)) / last;
    for (index, step) in steps.iter().enumerate() {
        frame.tick(place(index), &step.sockets.to_string());
    }
    let lines: [(Of, &str); 3] = [
        (|step| step.ping.p50_ms, "--pass"),
        (|step| step.ping.p95_ms, "--info"),
        (|step| step.ping.p99_ms, "--medium"),
    ];
    for (of, colour) in lines {
        let mut path = String::new();
        let mut dots = String::new();
        for (index, step) in steps.iter().enumerate() {
            let (x, y) = (Frame::x(place(index)), Frame::y(scale.share(of(step))));
            let _ = write!(path, "{}{x:.1},{y:.1}", if index == 0 { "" } else { " " });
            let _ = write!(dots, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
        }
        let _ = write!(
            frame.svg,
            "<polyline points=\"{path}\" fill=\"none\" style=\"stroke:var({colour})\" stroke-width=\"2\"/>\
             <g style=\"fill:var({colour})\">{dots}</g>"
        );
    }
    format!(
        "<h3>Round trip of pings by sockets at a time</h3><div class=\"wide\">{}</div>{}",
        frame.end(),
        key(&[("p50", "--pass"), ("p95", "--info"), ("p99", "--medium")])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_hold_their_values() {
        for (low, high, want) in [(0.2, 3.0, (-1.0, 1.0)), (1.0, 1.0, (0.0, 1.0)), (5.0, 2_000.0, (0.0, 4.0))] {
            let scale = Tens::of([low, high].into_iter());
            assert_eq!((scale.low, scale.high), want, "{low} {high}");
            assert!((0.0..=1.0).contains(&scale.share(low)) && (0.0..=1.0).contains(&scale.share(high)));
        }
        for (count, want) in [(0, 1), (1, 1), (3, 5), (120, 200), (1_000, 1_000)] {
            assert_eq!(round_up(count), want);
        }
        assert_eq!([plain(0.1), plain(10.0), plain(10_000.0)], ["0.1 ms", "10 ms", "10 s"]);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(run(&Measured::default()), "");
    }
}
