// Weights as lines between units: orange is negative, blue positive, and thick is large.
import { run } from "./run.js";
import { selection } from "./selection.js";

/** The weight whose line is nearest to a place, within 9 pixels. */
export function nearest(plan, x, y) {
  let best = null;
  let least = 9;
  for (let layer = 1; layer < plan.layers.length; layer++) {
    plan.layers[layer - 1].forEach((from, i) =>
      plan.layers[layer].forEach((to, j) => {
        const [x1, x2] = [from.x + from.side / 2, to.x - to.side / 2];
        if (x < x1 || x > x2) return;
        const t = (x - x1) / (x2 - x1);
        const bent = from.y + (to.y - from.y) * (3 * t * t - 2 * t ** 3);
        const distance = Math.abs(y - bent);
        if (distance < least) [least, best] = [distance, { kind: "edge", layer, unit: j, from: i }];
      }),
    );
  }
  return best;
}

/** Draw all lines. What a single step moved has a halo. */
export function drawLines(context, plan, hue) {
  const moved = changes();
  for (let layer = 1; layer < plan.layers.length; layer++)
    lines(context, plan, layer, hue, moved[layer - 1]);
  context.globalAlpha = 1;
}

/** By layer: how much a single step moved each weight, of the largest move; else nothing. */
function changes() {
  if (!run.before || run.running) return [];
  const differences = [];
  for (let layer = 0; run.frame.arrays[`weights:${layer}`]; layer++) {
    const [now, then] = [run.frame, run.before].map(
      (frame) => frame.arrays[`weights:${layer}`]?.data,
    );
    if (!then || then.length !== now.length) return [];
    differences.push(now.map((value, i) => Math.abs(value - then[i])));
  }
  const most = Math.max(...differences.map((each) => each.reduce((a, b) => Math.max(a, b), 0)));
  return most > 0 ? differences.map((each) => each.map((value) => value / most)) : [];
}

function lines(context, plan, layer, hue, moved) {
  const weights = run.frame.arrays[`weights:${layer - 1}`];
  const [from, to] = [plan.layers[layer - 1], plan.layers[layer]];
  if (!weights || weights.data.length !== from.length * to.length) return;
  const many = weights.data.length > 400;
  const size = weights.data.reduce(
    (a, b) => Math.max(a, Number.isFinite(b) ? Math.abs(b) : 0),
    1e-9,
  );
  for (let i = 0; i < from.length; i++) {
    for (let j = 0; j < to.length; j++) {
      const value = weights.data[i * to.length + j];
      const share = Math.abs(value) / size;
      const chosen =
        selection.kind === "edge" &&
        selection.layer === layer &&
        selection.unit === j &&
        selection.from === i;
      if (!chosen && (many ? share < 0.3 : share < 0.01)) continue;
      const move = moved?.[i * to.length + j] ?? 0;
      if (chosen || move > 0.25)
        stroke(context, from[i], to[j], hue.accent, 7 + 4 * move, chosen ? 0.45 : 0.3 * move);
      stroke(
        context,
        from[i],
        to[j],
        value < 0 ? hue.low : hue.high,
        many ? 0.8 : 0.6 + 3.6 * share,
        many ? 0.55 * share ** 2 : 0.25 + 0.65 * share,
      );
    }
  }
}

function stroke(context, from, to, color, width, alpha) {
  const [x1, x2] = [from.x + from.side / 2, to.x - to.side / 2];
  const middle = (x1 + x2) / 2;
  context.strokeStyle = color;
  context.lineWidth = width;
  context.globalAlpha = alpha;
  context.beginPath();
  context.moveTo(x1, from.y);
  context.bezierCurveTo(middle, from.y, middle, to.y, x2, to.y);
  context.stroke();
}
