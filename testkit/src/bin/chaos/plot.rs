//! The plot of `docs/resilience.md`: memory and honest p99 over each scenario, on a light page and on a dark one.

use std::fmt::Write as _;

use crate::outcome::{Outcome, TIMES_MAX};
use crate::scenario::Scenario;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 196.0;
const GAP: f64 = 64.0;
const PANEL: f64 = 264.0;
const TOP: f64 = 64.0;
const ROW: f64 = 76.0;
const HEIGHT: f64 = 48.0;

/// A panel of a row.
struct Panel {
    x: f64,
    y: f64,
    seconds: f64,
    most: f64,
}

impl Panel {
    fn x(&self, second: f64) -> f64 {
        self.x + PANEL * (second / self.seconds.max(1.0)).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        self.y + HEIGHT * (1.0 - (value / self.most).clamp(0.0, 1.0))
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (index, (second, value)) in points.enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", self.x(second), self.y(value));
        }
        path
    }

    /// Times of attack, and the frame's lower edge.
    fn ground(&self, svg: &mut String, outcome: &Outcome) {
        for (from, to) in &outcome.course.attacks {
            let (x, width) = (self.x(*from), self.x(*to) - self.x(*from));
            let _ = writeln!(
                svg,
                r#"<rect class="attack" x="{x:.1}" y="{:.1}" width="{width:.1}" height="{HEIGHT}"/>"#,
                self.y
            );
        }
        let bottom = self.y + HEIGHT;
        let _ = writeln!(
            svg,
            r#"<line class="axis" x1="{:.1}" x2="{:.1}" y1="{bottom:.1}" y2="{bottom:.1}"/>"#,
            self.x,
            self.x + PANEL
        );
    }

    fn limit(&self, svg: &mut String, value: f64, label: &str) {
        let y = self.y(value);
        let _ = writeln!(
            svg,
            r#"<line class="limit" x1="{:.1}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="quiet small" x="{:.1}" y="{:.1}">{label}</text>"#,
            self.x,
            self.x + PANEL,
            self.x + PANEL + 4.0,
            y + 4.0
        );
    }
}

pub(crate) fn svg(outcomes: &[(&Scenario, Outcome)]) -> String {
    let height = TOP + ROW * outcomes.len() as f64 + 12.0;
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">
<title id="title">Resident memory of the server and p99 of honest messages over each scenario</title>
<style>
  svg {{ font: 13px system-ui, sans-serif; color-scheme: light dark }}
  .small {{ font-size: 11px }}
  .page {{ fill: white }} .text {{ fill: #1f2328 }} .quiet {{ fill: #59636e }} .axis {{ stroke: #d1d9e0 }}
  .attack {{ fill: #ffebe9 }} .limit {{ stroke: #9a6700; stroke-dasharray: 4 3 }}
  .memory {{ fill: none; stroke: #0550ae; stroke-width: 1.5 }} .latency {{ fill: none; stroke: #116329; stroke-width: 1.5 }}
  @media (prefers-color-scheme: dark) {{
    .page {{ fill: #0d1117 }} .text {{ fill: #f0f6fc }} .quiet {{ fill: #9198a1 }} .axis {{ stroke: #3d444d }}
    .attack {{ fill: #3d1418 }} .limit {{ stroke: #e3b341 }}
    .memory {{ stroke: #79c0ff }} .latency {{ stroke: #7ee787 }}
  }}
</style>
<rect class="page" width="{WIDTH}" height="{height}"/>
<text class="text" x="{LEFT}" y="22">Resident memory, MiB</text>
<text class="text" x="{}" y="22">p99 of honest messages each second, ms</text>
<rect class="attack" x="16" y="34" width="14" height="12"/><text class="quiet" x="36" y="45">attacked</text>
<text class="quiet small" x="{LEFT}" y="42">dashed: the stated bound</text>
<text class="quiet small" x="{}" y="42">dashed: three times the p99 of the quiet times</text>
"#,
        LEFT + PANEL + GAP,
        LEFT + PANEL + GAP,
    );
    for (index, (scenario, outcome)) in outcomes.iter().enumerate() {
        row(&mut svg, TOP + ROW * index as f64, scenario, outcome);
    }
    svg.push_str("</svg>\n");
    svg
}

fn row(svg: &mut String, y: f64, scenario: &Scenario, outcome: &Outcome) {
    let course = &outcome.course;
    for (number, words) in wrapped(scenario.title).into_iter().enumerate() {
        let _ = writeln!(svg, r#"<text class="text" x="16" y="{:.1}">{words}</text>"#, y + 16.0 + 16.0 * number as f64);
    }
    let _ = writeln!(svg, r#"<text class="quiet small" x="16" y="{:.1}">{:.0} s</text>"#, y + HEIGHT, course.seconds);
    let bound = outcome.bound_mib as f64;
    let memory = Panel { x: LEFT, y, seconds: course.seconds, most: bound.max(outcome.peak_mib) * 1.05 };
    memory.ground(svg, outcome);
    memory.limit(svg, bound, &format!("{bound:.0}"));
    let path = memory.path(course.memory.iter().copied());
    let _ = writeln!(svg, r#"<path class="memory" d="{path}"/>"#);

    let limit = outcome.quiet.p99_ms * TIMES_MAX;
    let most = course.latency.iter().map(|second| second.2).fold(limit, f64::max);
    let latency = Panel { x: LEFT + PANEL + GAP, y, seconds: course.seconds, most: most * 1.05 };
    latency.ground(svg, outcome);
    latency.limit(svg, limit, &shown(limit));
    if most > limit * 1.3 {
        let _ = writeln!(
            svg,
            r#"<text class="quiet small" x="{:.1}" y="{:.1}">{}</text>"#,
            latency.x + PANEL + 4.0,
            latency.y(most) + 4.0,
            shown(most)
        );
    }
    let path = latency.path(course.latency.iter().map(|(second, _, p99)| (*second, *p99)));
    let _ = writeln!(svg, r#"<path class="latency" d="{path}"/>"#);
}

fn shown(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

/// A title in lines of 24 characters at most, where words permit.
fn wrapped(title: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in title.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < 24 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
