// Draws lines into an SVG, for documents: readable on paper and on a dark page.

const WIDTH = 760;
const HEIGHT = 300;
const LEFT = 64;
const RIGHT = 16;
const TOP = 44;
const BOTTOM = 44;
const COLOURS = ['#0a7d66', '#b9322c', '#3f7fbf', '#c98b2b'];

/** `series`: `{name, points: [[x, y], …]}`; `y.step`: whether a value holds until the next one. */
export function plot({ title, x, y, series, xMax, yMax }) {
  const across = (value) => LEFT + (value / xMax) * (WIDTH - LEFT - RIGHT);
  const up = (value) => HEIGHT - BOTTOM - (value / yMax) * (HEIGHT - TOP - BOTTOM);
  const round = (value) => Number(value.toFixed(1));
  const ticks = (max) => {
    const raw = max / 5;
    const unit = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((factor) => factor * unit).find((candidate) => candidate >= raw);
    return Array.from({ length: Math.floor(max / step) + 1 }, (_, n) => n * step);
  };
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}" font-family="system-ui, sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" rx="10" fill="#fff"/>`,
    `<text x="${LEFT}" y="22" font-size="14" font-weight="600" fill="#17211f">${title}</text>`,
  ];
  for (const tick of ticks(yMax)) {
    lines.push(`<path d="M${LEFT} ${round(up(tick))}H${WIDTH - RIGHT}" stroke="#e4e1d8"/>`);
    lines.push(`<text x="${LEFT - 8}" y="${round(up(tick)) + 4}" text-anchor="end" fill="#5c6864">${tick.toLocaleString('en')}</text>`);
  }
  for (const tick of ticks(xMax)) {
    lines.push(`<text x="${round(across(tick))}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle" fill="#5c6864">${tick.toLocaleString('en')}</text>`);
  }
  lines.push(`<text x="${WIDTH - RIGHT}" y="${HEIGHT - 8}" text-anchor="end" fill="#5c6864">${x}</text>`);
  lines.push(`<text x="${LEFT}" y="38" fill="#5c6864">${y}</text>`);
  series.forEach(({ name, points }, at) => {
    const colour = COLOURS[at % COLOURS.length];
    const path = points.filter(([value]) => value <= xMax).map(([px, py]) => `${round(across(px))} ${round(up(Math.min(py, yMax)))}`);
    lines.push(`<path d="M${path.join('L')}" fill="none" stroke="${colour}" stroke-width="1.6"/>`);
    lines.push(`<text x="${WIDTH - RIGHT}" y="${TOP + 8 + at * 17}" text-anchor="end" fill="${colour}" stroke="#fff" stroke-width="4" paint-order="stroke">${name}</text>`);
  });
  return `${lines.join('\n')}\n</svg>\n`;
}
