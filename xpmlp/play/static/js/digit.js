// Draw a digit, and watch a trained network read it.
import { get, post, send } from "./api.js";
import { colours, paint } from "./colors.js";
import { attempt, fail } from "./messages.js";
import * as pad from "./pad.js";
import { run } from "./run.js";
import { $, element, percent } from "./words.js";

let reader = { status: "empty" };
let reading = false;
let again = false;
let answer = null;

/** Read the ink; what is drawn meanwhile is read after, once. */
async function read() {
  if (reader.status !== "ready") return;
  if (reading) {
    again = true;
    return;
  }
  reading = true;
  do {
    again = false;
    if (pad.ink.some((value) => value > 0)) {
      try {
        answer = await post("digit/read", { pixels: rows(pad.ink) });
        fail(null);
      } catch (error) {
        fail(error);
      }
    } else {
      answer = null;
    }
    show();
  } while (again);
  reading = false;
}

const rows = (ink) =>
  Array.from({ length: pad.SIDE }, (_, y) =>
    Array.from(ink.subarray(y * pad.SIDE, (y + 1) * pad.SIDE)),
  );

function show() {
  const best = answer?.digit;
  [...$("read-bars").children].forEach((bar, k) => {
    const share = answer?.probabilities[k] ?? 0;
    bar.className = k === best ? "best" : "";
    bar.querySelector("i").style.setProperty("--share", `${100 * share}%`);
    bar.lastChild.textContent = answer ? percent(share) : "";
  });
  $("read-said").textContent = answer
    ? `${best}, with ${percent(answer.probabilities[best])}`
    : "Draw something.";
  $("read-note").textContent = answer?.note ?? "";
  pixels();
  hidden();
}

function pixels() {
  const hue = colours();
  const side = answer?.side ?? 8;
  paint($("ink-seen"), null, side, side, (i) => hue.inked(answer ? answer.seen[i] : 0));
  const size = Math.max(1e-12, ...(answer?.gradient ?? []).map(Math.abs));
  paint(
    $("ink-gradient"),
    null,
    side,
    side,
    (i) => hue.table[answer ? Math.round(127.5 + (127.5 * answer.gradient[i]) / size) : 127],
  );
}

function hidden() {
  const layers = answer?.hidden ?? [];
  $("read-hidden").replaceChildren(
    ...layers.flatMap((values, layer) => {
      const size = Math.max(1e-12, ...values.map(Math.abs));
      return values.map((value, k) => {
        const unit = element("i", {
          title: `Unit ${k + 1} of hidden layer ${layer + 1}: ${value.toPrecision(3)}`,
        });
        unit.style.setProperty("--share", `${(100 * Math.abs(value)) / size}%`);
        unit.style.setProperty("--hue", value < 0 ? "var(--low)" : "var(--high)");
        return unit;
      });
    }),
  );
}

/** Follow the training of the reader until it is ready. */
async function follow() {
  for (;;) {
    reader = await get("digit/state");
    tell();
    if (reader.status !== "training") break;
    await new Promise((done) => setTimeout(done, 250));
  }
  if (reader.status === "failed") throw new Error(reader.message || "The training failed");
  await read();
}

function tell() {
  const { status, source, epoch, epochs, accuracy, sizes } = reader;
  const made = sizes ? `${sizes.join("-")} network` : "network";
  const right = Number.isFinite(accuracy)
    ? `; ${percent(accuracy)} of the digits it has not seen are right`
    : "";
  $("reader-said").textContent = {
    empty: "No network yet.",
    failed: reader.message ?? "The training failed.",
    training: `Training a ${made}: epoch ${epoch ?? 0} of ${epochs ?? "…"}`,
    ready:
      source && source !== "digits"
        ? `The ${made} of ${source}.`
        : `A ${made}, trained on 8 by 8 pixels${right}.`,
  }[status];
  $("reader-progress").hidden = status !== "training";
  $("reader-progress").value = epochs ? (epoch ?? 0) / epochs : 0;
  $("reader-train").disabled = status === "training";
}

async function train() {
  await post("digit/train");
  await follow();
}

async function load(file) {
  await send(`digit/model?name=${encodeURIComponent(file.name)}`, file);
  await follow();
}

async function open() {
  await run.opened;
  await follow();
  if (reader.status === "empty") await train();
}

function view(name) {
  for (const each of ["learn", "digit"]) {
    $(each).hidden = each !== name;
    $(`view-${each}`).setAttribute("aria-pressed", String(each === name));
  }
  if (name === "digit") attempt(open);
}

export function setUp() {
  $("view-learn").onclick = () => view("learn");
  $("view-digit").onclick = () => view("digit");
  pad.setUp(read);
  $("read-bars").replaceChildren(
    ...Array.from({ length: 10 }, (_, k) =>
      element("div", {}, element("span", {}, String(k)), element("i"), element("span")),
    ),
  );
  $("reader-train").onclick = () => attempt(train);
  $("reader-file").onchange = (event) =>
    event.target.files[0] &&
    attempt(() => load(event.target.files[0])).then(() => {
      event.target.value = "";
    });
  document.addEventListener("colours", pixels);
  show();
}
