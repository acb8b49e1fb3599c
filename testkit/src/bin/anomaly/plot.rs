//! The plot of `docs/anomaly.md`: readable on a light page and on a dark one.

use std::fmt::Write as _;

use testkit::evaluation::{Evaluation, Signals, shown};

use crate::report::SHARES;

const WIDTH: u32 = 760;
const LEFT: u32 = 190;
const RIGHT: u32 = 150;
const TOP: u32 = 58;
const ROW: u32 = 30;

/// Detection by character at the two rates of false alarms, with the time it took.
pub(crate) fn svg(evaluation: &Evaluation) -> String {
    let [low, high] = SHARES.map(|share| evaluation.threshold(Signals::All, share));
    let rows: Vec<_> = evaluation.rows.iter().filter(|row| row.character.hostile).collect();
    let height = TOP + ROW * u32::try_from(rows.len()).unwrap_or(0) + 40;
    let span = f64::from(WIDTH - LEFT - RIGHT);
    let x = |share: f64| f64::from(LEFT) + span * share;
    let bottom = height - 40;
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">
<title id="title">Share of the attacks that are found at 0.1 % and at 1 % false alarms per connection-hour</title>
<style>
  svg {{ font: 13px system-ui, sans-serif; color-scheme: light dark }}
  .page {{ fill: white }} .text {{ fill: #1f2328 }} .quiet {{ fill: #59636e }} .line {{ stroke: #d1d9e0 }}
  .low {{ fill: #0550ae }} .high {{ fill: none; stroke: #9a6700; stroke-width: 2.5 }} .between {{ stroke: #59636e }}
  @media (prefers-color-scheme: dark) {{
    .page {{ fill: #0d1117 }} .text {{ fill: #f0f6fc }} .quiet {{ fill: #9198a1 }} .line {{ stroke: #3d444d }}
    .low {{ fill: #79c0ff }} .high {{ stroke: #e3b341 }} .between {{ stroke: #9198a1 }}
  }}
</style>
<rect class="page" width="{WIDTH}" height="{height}"/>
<circle class="low" cx="{LEFT}" cy="20" r="5"/><text class="text" x="{}" y="24">found at 0.1 % false alarms an hour</text>
<circle class="high" cx="{}" cy="20" r="6"/><text class="text" x="{}" y="24">at 1 %</text>
<text class="quiet" x="{}" y="44">half of them within (0.1 %)</text>
"#,
        LEFT + 12,
        LEFT + 260,
        LEFT + 274,
        WIDTH - RIGHT + 14 - 40,
    );
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let at = x(tick);
        let _ = writeln!(
            svg,
            r#"<line class="line" x1="{at:.1}" x2="{at:.1}" y1="{TOP}" y2="{bottom}"/><text class="quiet" x="{at:.1}" y="{}" text-anchor="middle">{:.0} %</text>"#,
            bottom + 20,
            tick * 100.0
        );
    }
    for (index, row) in (0_u32..).zip(rows) {
        let y = TOP + ROW * index + ROW / 2;
        let ((at_low, time), (at_high, _)) = (row.detected(Signals::All, low), row.detected(Signals::All, high));
        let _ = writeln!(
            svg,
            r#"<text class="text" x="{}" y="{}" text-anchor="end">{}</text><line class="between" x1="{:.1}" x2="{:.1}" y1="{y}" y2="{y}"/><circle class="high" cx="{:.1}" cy="{y}" r="6"/><circle class="low" cx="{:.1}" cy="{y}" r="5"/><text class="quiet" x="{}" y="{}">{}</text>"#,
            LEFT - 16,
            y + 4,
            row.character.name,
            x(at_low),
            x(at_high),
            x(at_high),
            x(at_low),
            WIDTH - RIGHT + 30,
            y + 4,
            time.map_or_else(|| "never".to_owned(), shown),
        );
    }
    svg.push_str("</svg>\n");
    svg
}
