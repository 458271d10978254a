// The page's colours as numbers. Low is orange and high is blue, which colour-blind people tell apart.

const CLASSES = [
  "#e2711d",
  "#1f6fb4",
  "#2f9e77",
  "#b0509a",
  "#c9a500",
  "#5fa8d3",
  "#8a5a3c",
  "#6b6fc4",
  "#d0607a",
  "#7d8793",
];

let cached = null;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  cached = null;
  document.dispatchEvent(new Event("colours"));
});

function rgb(text) {
  const n = parseInt(text.trim().slice(1), 16);
  return [(n >> 16) & 255, (n >> 8) & 255, n & 255];
}

function mix(a, b, t) {
  return a.map((value, i) => value + (b[i] - value) * t);
}

/** The colours of the scheme in use: texts for canvas, and tables of 256 colours. */
export function colours() {
  if (cached) return cached;
  const style = getComputedStyle(document.documentElement);
  const text = (name) => style.getPropertyValue(`--${name}`).trim();
  const [low, middle, high, card] = ["low", "middle", "high", "card"].map((name) =>
    rgb(text(name)),
  );
  const table = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const t = i / 127.5 - 1;
    table[i] = pack(mix(middle, t < 0 ? low : high, Math.abs(t) ** 0.8 * 0.62));
  }
  const classes = [text("low"), text("high"), ...CLASSES.slice(2)];
  cached = {
    text,
    table,
    classes,
    low: text("low"),
    high: text("high"),
    line: text("line"),
    ink: text("ink"),
    soft: text("soft"),
    card: text("card"),
    accent: text("accent"),
    lowInk: text("low-ink"),
    highInk: text("high-ink"),
    middle: text("middle"),
    /** Ink on paper: 0 is paper, 1 ink. */
    inked: (share) => pack(mix(rgb(text("paper")), rgb(text("ink")), share)),
    /** The colour of class k, seen with probability u/255. */
    sure: (k, u) => pack(mix(card, rgb(classes[k % classes.length]), 0.1 + 0.5 * (u / 255))),
  };
  return cached;
}

function pack([r, g, b]) {
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

/** Paint bytes onto a canvas, one pixel for each, by a table of 256 colours or a function of the place. */
export function paint(canvas, bytes, width, height, table) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  if (typeof table === "function") for (let i = 0; i < pixels.length; i++) pixels[i] = table(i);
  else for (let i = 0; i < pixels.length; i++) pixels[i] = table[bytes[i]];
  context.putImageData(image, 0, 0);
}

/** A canvas that is as sharp as the screen: its context, in CSS pixels, cleared. */
export function sharp(canvas, width, height) {
  const scale = Math.min(devicePixelRatio || 1, 2);
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}
