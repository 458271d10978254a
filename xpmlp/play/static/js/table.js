// One's own table: uploaded, then two of its columns for the plane and one to predict.
import { send } from "./api.js";
import { attempt } from "./messages.js";
import { run } from "./run.js";
import { $, element } from "./words.js";

const MOST = 5_000_000;
let table = null;

/** The elements: the file field, and the columns once there is a table. */
export function uploads() {
  const input = element("input", {
    type: "file",
    id: "table-file",
    accept: ".csv,.tsv,.txt,.data,.jsonl,.ndjson",
  });
  input.onchange = () =>
    input.files[0] &&
    attempt(() => upload(input.files[0])).then(() => {
      input.value = "";
    });
  const label = element("label", { className: "file" }, "Use my own table … ", input);
  return element(
    "div",
    { className: "upload" },
    label,
    element(
      "p",
      { id: "table-said", className: "aside" },
      "A CSV file of at most 5 MB; it stays on this computer.",
    ),
    element("div", { id: "table-columns" }),
  );
}

async function upload(file) {
  if (file.size > MOST)
    throw new Error(
      `${file.name} has ${(file.size / 1e6).toFixed(1)} MB; a table may have 5 MB. xpmlp train reads larger ones.`,
    );
  table = { ...(await send(`table?name=${encodeURIComponent(file.name)}`, file)), name: file.name };
  const [first, second] = numeric(table.label);
  await run.change(
    { data: "table", label: table.label, columns: second ? [first, second] : [] },
    true,
  );
}

const numeric = (label) =>
  table.columns
    .filter(({ kind, name }) => /^num/.test(kind) && name !== label)
    .map(({ name }) => name);

/** The columns that are neither predicted nor among some. */
const rest = (label, but) =>
  table.columns.map(({ name }) => name).filter((name) => name !== label && !but.includes(name));

/** Whether the network gets the columns that are not on the plane, too. */
function further(names, on, change) {
  if (!names.length) return "";
  const box = element("input", { type: "checkbox", id: "table-others", checked: on });
  box.onchange = () => attempt(() => run.change(change(box.checked), true));
  return element(
    "label",
    { className: "check", title: names.join(", ") },
    box,
    "the other columns, too",
  );
}

function show() {
  table = run.state?.table ?? table;
  const place = $("table-columns");
  if (!place) return;
  const shown = table && run.settings.data === "table";
  $("table-said").textContent = shown
    ? `${table.name ?? "The table"}: ${table.rows.toLocaleString("en")} rows`
    : "A CSV file of at most 5 MB; it stays on this computer.";
  if (!shown) return place.replaceChildren();
  const { label } = run.settings;
  const [x, y, ...others] = run.settings.columns?.length
    ? run.settings.columns
    : [...numeric(label), ...rest(label, numeric(label))];
  const all = (across, up, label) => ({
    label,
    columns: [across, up, ...(others.length ? rest(label, [across, up]) : [])],
  });
  const predicted = list(
    "table-label",
    "Predict",
    table.columns.map(({ name }) => name),
    label ?? table.label,
    (name) => {
      const [first, second] = numeric(name);
      return second ? all(first, second, name) : { label: name, columns: [] };
    },
  );
  if (numeric(label).length < 2) return place.replaceChildren(predicted); // no plane
  return place.replaceChildren(
    list("table-x", "Across", numeric(label), x, (name) => all(name, name === y ? x : y, label)),
    list("table-y", "Up", numeric(label), y, (name) => all(name === x ? y : x, name, label)),
    predicted,
    further(rest(label, [x, y]), others.length > 0, (on) => ({
      columns: [x, y, ...(on ? rest(label, [x, y]) : [])],
    })),
  );
}

/** A list of columns; `change` says which settings a choice means. */
function list(id, title, names, value, change) {
  const select = element(
    "select",
    { id },
    ...names.map((name) => element("option", { value: name }, name)),
  );
  select.value = value;
  select.onchange = () => attempt(() => run.change(change(select.value), true));
  return element("div", { className: "field" }, element("label", { htmlFor: id }, title), select);
}

export function setUp() {
  run.on("settings", show);
}
