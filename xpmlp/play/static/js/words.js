// Elements, numbers as text, and the names that the page shows.

/** element("p", {className: "aside"}, "text", child) */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null) continue;
    if (name in made && !name.startsWith("aria-")) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const $ = (id) => document.getElementById(id);

/** A number in few digits: 0.0312, 1,204, 3.1e-7; – where there is none. */
export function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text =
    size !== 0 && (size < 1e-3 || size >= 1e6)
      ? value.toExponential(digits - 1).replace("e+", "e")
      : size >= 1000
        ? Math.round(value).toLocaleString("en")
        : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−").replace("e-", "e−");
}

export const percent = (share) =>
  Number.isFinite(share)
    ? `${(100 * share).toFixed(share > 0.9995 || share < 0.1 ? 0 : 1)} %`
    : "–";

/** Accuracy as a percentage, R² as a number. */
export const score = (name, value) => (name === "accuracy" ? percent(value ?? NaN) : number(value));

export const SCORES = { accuracy: "Accuracy", r2: "R²" };

const CAPTIONS = {
  data: {
    xor: "XOR",
    circles: "circles",
    spirals: "spirals",
    moons: "moons",
    line: "a line",
    waves: "waves",
    digits: "digits",
    table: "my table",
  },
  field: {
    points: "Points",
    noise: "Noise",
    test_share: "Test share",
    columns: "Columns",
    label: "Predict",
    hidden: "Hidden layers",
    activation: "Activation",
    loss: "Loss",
    optimizer: "Optimizer",
    learning_rate: "Learning rate",
    schedule: "Schedule",
    batch_size: "Batch size",
    dropout: "Dropout",
    l1: "L1 penalty",
    l2: "L2 penalty",
    normalization: "Normalization",
    initializer: "Initializer",
    bias: "Biases",
    seed: "Seed",
    backend: "Backend",
    epochs: "Most epochs",
    clip_norm: "Clip gradients",
    slip: "Original’s slip",
    pace: "Epochs",
  },
};

export const caption = (kind, name) =>
  CAPTIONS[kind]?.[name] ?? String(name ?? "none").replaceAll("_", " ");

/** Call `work` in the next picture of the browser, at most once. */
export function onNextPicture(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      work();
    });
  };
}

/** Save bytes as a file of the visitor. */
export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
