// How long the gaps of all streams were, in the last minutes: a column for a few seconds, darker for more gaps.

import { counted, gap } from "./format.js";
import { Drawing, svg } from "./picture.js";

const LEFT = 46;
const ROW = 10;
const LABELS = [0.001, 0.01, 0.1, 1, 10];
const LEVELS = 5;
const AXIS = 18;

export class Heatmap {
  constructor(frame, caption) {
    this.frame = frame;
    this.caption = caption;
    this.drawing = new Drawing("gaps-heading", caption.id);
  }

  // columns: counts for each bound and one beyond; the latest is the last. most: how many there may be.
  draw(columns, bounds, seconds, most) {
    const rows = bounds.length + 1;
    const width = Math.max(this.frame.clientWidth, 240);
    const height = rows * ROW;
    const step = (width - LEFT) / most;
    const highest = Math.log1p(Math.max(1, ...columns.flat()));
    const paths = Array.from({ length: LEVELS }, () => "");
    columns.forEach((counts, i) => {
      const left = LEFT + (most - columns.length + i) * step;
      counts.forEach((count, row) => {
        if (!count) return;
        const level = Math.max(Math.ceil((Math.log1p(count) / highest) * LEVELS) - 1, 0);
        const top = (rows - 1 - row) * ROW;
        paths[level] += `M${left.toFixed(1)} ${top}h${(step - 0.6).toFixed(1)}v${ROW - 0.6}h-${(step - 0.6).toFixed(1)}z`;
      });
    });
    const labels = LABELS.map((bound) => {
      const y = (rows - 1 - bounds.indexOf(bound)) * ROW;
      return [
        svg("line", { class: "grid", x1: LEFT, x2: width, y1: y, y2: y }),
        svg("text", { class: "bound", x: LEFT - 6, y: y + 4 }, gap(bound).replace(".0", "")),
      ];
    }).flat();
    const minutes = (most * seconds) / 60;
    this.drawing.draw(
      this.frame,
      width,
      height + AXIS,
      svg("rect", { class: "lane", x: LEFT, y: 0, width: width - LEFT, height, rx: 4 }),
      ...labels,
      ...paths.map((d, i) => svg("path", { class: `level${i + 1}`, d })),
      svg("text", { class: "time", x: LEFT, y: height + 14 }, `${minutes} min ago`),
      svg("text", { class: "time last", x: width, y: height + 14 }, "now"),
    );
    this.describe(columns, bounds);
  }

  describe(columns, bounds) {
    const sums = bounds.map((_, row) => columns.reduce((sum, counts) => sum + counts[row], 0));
    sums.push(columns.reduce((sum, counts) => sum + counts[bounds.length], 0));
    const all = sums.reduce((a, b) => a + b, 0);
    const content = all
      ? `${counted(all, "gap")}: half of them ${within(sums, bounds, all * 0.5)}, ${"99\u00a0%"} ${within(sums, bounds, all * 0.99)}.`
      : "No gap in this time.";
    if (this.caption.textContent !== content) this.caption.textContent = content;
  }
}

// The bound that so many observations stay within.
export function within(counts, bounds, wanted) {
  let sum = 0;
  for (let i = 0; i < bounds.length; i += 1) {
    sum += counts[i];
    if (sum >= wanted) return `within ${gap(bounds[i])}`;
  }
  return `beyond ${gap(bounds.at(-1))}`;
}
