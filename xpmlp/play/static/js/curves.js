// Training and test loss by epoch.
import { colours, sharp } from "./colors.js";
import { run } from "./run.js";
import { $, number } from "./words.js";

const EDGE = { left: 46, right: 56, top: 8, bottom: 20 };

/** At most two values for each pixel: the lowest and the highest, so that no peak is lost. */
export function thinned(values, most) {
  if (values.length <= 2 * most) return values.map((value, i) => [i, value]);
  const kept = [];
  for (let k = 0; k < most; k++) {
    const [from, to] = [
      Math.floor((k * values.length) / most),
      Math.floor(((k + 1) * values.length) / most),
    ];
    let [low, high] = [from, from];
    for (let i = from; i < to; i++) {
      if (values[i] < values[low]) low = i;
      if (values[i] > values[high]) high = i;
    }
    for (const i of low < high ? [low, high] : low > high ? [high, low] : [low])
      kept.push([i, values[i]]);
  }
  return kept;
}

function bounds(lines, log) {
  let [low, high] = [Infinity, -Infinity];
  for (const line of lines) {
    for (const value of line) {
      if (!Number.isFinite(value) || (log && value <= 0)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) return null;
  if (!log) return [Math.min(0, low), high === low ? low + 1 : high];
  return low === high ? [low / 2, high * 2] : [low, high];
}

function draw() {
  const canvas = $("curves");
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (width) drawOn(sharp(canvas, width, height), width, height);
  if (!run.running) canvas.setAttribute("aria-label", describe());
}

function drawOn(context, width, height) {
  const hue = colours();
  const early = !run.history.train.length && run.steps.train.length > 1; // no epoch yet: by steps
  const { train, test } = early ? run.steps : run.history;
  const lines = [train, test];
  const log = $("log-scale").checked || (early && explodes(train));
  const limits = bounds(lines, log);
  context.font = "11px system-ui, sans-serif";
  if (!limits) {
    Object.assign(context, { fillStyle: hue.soft, textAlign: "center" });
    context.fillText("The curves begin with the first steps.", width / 2, height / 2);
    return;
  }
  const [w, h] = [width - EDGE.left - EDGE.right, height - EDGE.top - EDGE.bottom];
  const as = log ? Math.log10 : (value) => value;
  const [low, high] = limits.map(as);
  const count = Math.max(lines[0].length, 2);
  const x = (epoch) => EDGE.left + (epoch / (count - 1)) * w;
  const y = (value) => EDGE.top + (1 - (as(value) - low) / (high - low)) * h;
  grid(context, hue, limits, y, width);
  Object.assign(context, { fillStyle: hue.soft, textBaseline: "top", textAlign: "left" });
  context.fillText(early ? "0" : "1", EDGE.left, height - 15);
  context.textAlign = "right";
  context.fillText(
    early ? `step ${train.length - 1}` : `epoch ${train.length.toLocaleString("en")}`,
    width - EDGE.right,
    height - 15,
  );
  const ends = [];
  lines.forEach((values, k) => {
    if (!values.length) return;
    line(context, thinned(values, w), x, y, k ? hue.low : hue.high, k > 0);
    const last = values.at(-1);
    ends.push({
      text: k ? "test" : "training",
      color: k ? hue.lowInk : hue.highInk,
      y: Number.isFinite(last) && !(log && last <= 0) ? y(last) : EDGE.top,
    });
  });
  labels(context, ends, width);
}

/** Whether a loss rises by orders of magnitude: on a linear scale all but its end would be flat. */
const explodes = (losses) => Math.max(...losses.filter(Number.isFinite)) > 1000 * losses[0];

function grid(context, hue, limits, y, width) {
  Object.assign(context, {
    strokeStyle: hue.line,
    lineWidth: 1,
    fillStyle: hue.soft,
    textAlign: "right",
    textBaseline: "middle",
  });
  for (const value of limits) {
    const at = Math.round(y(value)) + 0.5;
    context.beginPath();
    context.moveTo(EDGE.left, at);
    context.lineTo(width - EDGE.right, at);
    context.stroke();
    context.fillText(number(value, 2), EDGE.left - 6, at);
  }
}

function line(context, points, x, y, color, dashed) {
  Object.assign(context, { strokeStyle: color, lineWidth: 2, lineJoin: "round" });
  context.setLineDash(dashed ? [6, 3] : []);
  context.beginPath();
  let down = false;
  for (const [epoch, value] of points) {
    const at = y(value);
    if (!Number.isFinite(at)) {
      down = false;
      continue;
    }
    if (down) context.lineTo(x(epoch), at);
    else context.moveTo(x(epoch), at);
    down = true;
  }
  context.stroke();
  context.setLineDash([]);
}

/** Names at the ends of the lines, moved apart where they would overlap. */
function labels(context, ends, width) {
  if (ends.length === 2 && Math.abs(ends[0].y - ends[1].y) < 13) {
    const [upper, lower] = ends[0].y <= ends[1].y ? ends : [ends[1], ends[0]];
    const middle = (upper.y + lower.y) / 2;
    [upper.y, lower.y] = [middle - 6.5, middle + 6.5];
  }
  const above = Math.max(0, 7 - Math.min(...ends.map(({ y }) => y)));
  for (const end of ends) end.y += above;
  Object.assign(context, {
    textAlign: "left",
    textBaseline: "middle",
    font: "600 11px system-ui, sans-serif",
  });
  for (const { text, color, y } of ends) {
    context.fillStyle = color;
    context.fillText(text, width - EDGE.right + 5, y);
  }
}

function describe() {
  const { train, test } = run.history;
  if (!train.length) return "Loss by epoch: nothing yet";
  return `Loss by epoch: training from ${number(train[0])} to ${number(train.at(-1))}, test from ${number(test[0])} to ${number(test.at(-1))}, over ${train.length} epochs`;
}

/** The drawing for a picture file. */
export function drawInto(context, width, height) {
  drawOn(context, width, height);
}

export function setUp() {
  $("log-scale").onchange = draw;
  run.on("frame network", draw);
  document.addEventListener("colours", draw);
  new ResizeObserver(draw).observe($("curves"));
}
