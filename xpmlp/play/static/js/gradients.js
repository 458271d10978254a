// How large the gradients of each layer are: a row for each layer, from 1e-8 to 100.
import { colours, sharp } from "./colors.js";
import { run } from "./run.js";
import { $ } from "./words.js";

const EDGE = { left: 62, right: 10, top: 4, bottom: 20 };
const POWERS = [-8, 2];

function draw() {
  const canvas = $("gradients");
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width) return;
  const context = sharp(canvas, width, height);
  const hue = colours();
  const counts = run.frame?.arrays.gradients;
  const empty = !counts || counts.data.every((value) => value === 0);
  context.font = "11px system-ui, sans-serif";
  if (empty) {
    Object.assign(context, { fillStyle: hue.soft, textAlign: "center" });
    context.fillText("Gradients appear with the first step.", width / 2, height / 2);
    return;
  }
  const [layers, bins] = counts.shape;
  const [w, h] = [width - EDGE.left - EDGE.right, height - EDGE.top - EDGE.bottom];
  const row = h / layers;
  for (let layer = 0; layer < layers; layer++) {
    const values = counts.data.subarray(layer * bins, (layer + 1) * bins);
    const most = Math.max(...values, 1e-9);
    const base = EDGE.top + (layer + 1) * row - 2;
    Object.assign(context, { fillStyle: hue.soft, textAlign: "right", textBaseline: "bottom" });
    context.fillText(
      layer === layers - 1 ? "output" : `hidden ${layer + 1}`,
      EDGE.left - 6,
      base + 1,
    );
    context.fillStyle = hue.line;
    context.fillRect(EDGE.left, base, w, 1);
    context.fillStyle = hue.high;
    values.forEach((value, k) => {
      const tall = Math.min(row - 4, 60) * (value / most);
      if (value > 0)
        context.fillRect(
          EDGE.left + (k * w) / bins + 0.5,
          base - Math.max(tall, 1),
          w / bins - 1,
          Math.max(tall, 1),
        );
    });
  }
  Object.assign(context, { fillStyle: hue.soft, textBaseline: "top", textAlign: "center" });
  for (const power of [-8, -6, -4, -2, 0, 2]) {
    const x = EDGE.left + ((power - POWERS[0]) / (POWERS[1] - POWERS[0])) * w;
    context.fillText(
      power === 0 ? "1" : power === 2 ? "100" : `1e−${-power}`,
      Math.min(x, width - 12),
      height - 15,
    );
  }
  if (!run.running) canvas.setAttribute("aria-label", describe(counts));
}

function describe({ data, shape: [layers, bins] }) {
  const typical = Array.from({ length: layers }, (_, layer) => {
    const values = data.subarray(layer * bins, (layer + 1) * bins);
    const power =
      POWERS[0] + (values.indexOf(Math.max(...values)) / bins) * (POWERS[1] - POWERS[0]);
    return `layer ${layer + 1}: about 1e${Math.round(power)}`;
  });
  return `Histogram of gradients. Most common size, ${typical.join(", ")}`;
}

export function setUp() {
  run.on("frame network", draw);
  document.addEventListener("colours", draw);
  new ResizeObserver(draw).observe($("gradients"));
}
