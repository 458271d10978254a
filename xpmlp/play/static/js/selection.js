// What the visitor clicked: a unit or a weight, and the point whose numbers are shown.
import { run } from "./run.js";

export const selection = { kind: null, layer: 0, unit: 0, from: 0, point: { row: 0 } };

/** Select a unit {kind: "unit", layer, unit} or a weight {kind: "edge", layer, unit, from}. */
export function select(chosen) {
  Object.assign(selection, chosen);
  run.tell("selection");
}

/** Show numbers for a point: {row} of the data, or {point, target} anywhere. */
export function choosePoint(point) {
  selection.point = point;
  if (!selection.kind) Object.assign(selection, { kind: "unit", layer: 1, unit: 0 });
  run.tell("selection");
}

run.on("network", () => {
  const { sizes } = run.state;
  const rows = run.state.points?.x.length ?? run.state.rows?.train ?? 0;
  if ((selection.point.row ?? 0) >= rows) selection.point = { row: 0 };
  const inside = selection.layer < (sizes?.length ?? 0) && selection.unit < sizes[selection.layer];
  if (selection.kind && !inside) selection.kind = null;
  if (selection.kind === "edge" && selection.from >= sizes[selection.layer - 1])
    selection.kind = null;
});
