// A pad of 28 by 28 pixels: drawn on with a pen, a finger, or the keyboard.
import { colours, paint } from "./colors.js";
import { $ } from "./words.js";

export const SIDE = 28;
export const ink = new Uint8Array(SIDE * SIDE); // 0 is paper, 255 ink
const RADIUS = 1.35;
const pen = { x: 13.5, y: 8.5, down: false, keyboard: false };
const small = document.createElement("canvas");
let changed = () => {};

/** Ink around the line from one place to another, in pixels of the pad. */
function stroke(x0, y0, x1, y1) {
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++) {
      const [dx, dy] = [x1 - x0, y1 - y0];
      const t = Math.max(
        0,
        Math.min(1, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1)),
      );
      const distance = Math.hypot(x - x0 - t * dx, y - y0 - t * dy);
      const dark = Math.round(255 * Math.max(0, Math.min(1, RADIUS + 0.5 - distance)));
      ink[y * SIDE + x] = Math.max(ink[y * SIDE + x], dark);
    }
  }
  draw();
  changed();
}

export function clear() {
  ink.fill(0);
  draw();
  changed();
}

export function draw() {
  const canvas = $("pad");
  const hue = colours();
  const [paper, black] = [hue.text("paper"), hue.ink].map((text) => parseInt(text.slice(1), 16));
  paint(small, null, SIDE, SIDE, (i) => {
    const t = ink[i] / 255;
    const of = (shift) =>
      Math.round(((paper >> shift) & 255) * (1 - t) + ((black >> shift) & 255) * t);
    return ((255 << 24) | (of(0) << 16) | (of(8) << 8) | of(16)) >>> 0;
  });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  if (!pen.keyboard) return;
  const pixel = canvas.width / SIDE;
  Object.assign(context, { strokeStyle: pen.down ? hue.low : hue.accent, lineWidth: 3 });
  context.strokeRect((pen.x - 0.5) * pixel, (pen.y - 0.5) * pixel, 2 * pixel, 2 * pixel);
}

function place(event) {
  const box = $("pad").getBoundingClientRect();
  return [
    ((event.clientX - box.left) / box.width) * SIDE - 0.5,
    ((event.clientY - box.top) / box.height) * SIDE - 0.5,
  ];
}

function pointers(canvas) {
  let last = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pen.keyboard = false;
    last = place(event);
    stroke(...last, ...last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const next = place(event);
    stroke(...last, ...next);
    last = next;
  });
  for (const name of ["pointerup", "pointercancel"])
    canvas.addEventListener(name, () => {
      last = null;
    });
}

function keys(event) {
  const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
    event.key
  ];
  pen.keyboard = true;
  if (by) {
    const [x, y] = [
      Math.max(0, Math.min(SIDE - 1, pen.x + by[0])),
      Math.max(0, Math.min(SIDE - 1, pen.y + by[1])),
    ];
    if (pen.down) stroke(pen.x, pen.y, x, y);
    Object.assign(pen, { x, y });
  } else if (event.key === " ") {
    pen.down = !pen.down;
    if (pen.down) stroke(pen.x, pen.y, pen.x, pen.y);
  } else if (event.key === "Delete" || event.key === "Backspace") {
    pen.down = false;
    clear();
  } else {
    return;
  }
  event.preventDefault();
  draw();
}

export function setUp(whenChanged) {
  changed = whenChanged;
  pointers($("pad"));
  $("pad").addEventListener("keydown", keys);
  $("pad").addEventListener("blur", () => {
    pen.keyboard = pen.down = false;
    draw();
  });
  $("pad-clear").onclick = clear;
  document.addEventListener("colours", draw);
  draw();
}
