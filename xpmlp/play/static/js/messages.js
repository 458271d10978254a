// What the page says: the server's line when something fails, and the run's state for screen readers.
import { $ } from "./words.js";

/** Show the one line of a failure; null takes it away. */
export function fail(error) {
  const place = $("error");
  place.textContent = error ? error.message || String(error) : "";
  place.hidden = !error;
}

/** Say a change of state to a screen reader. */
export function say(text) {
  if ($("status").textContent !== text) $("status").textContent = text;
}

/** Run `work`, and show its failure. Returns undefined after a failure. */
export async function attempt(work) {
  fail(null);
  try {
    return await work();
  } catch (error) {
    fail(error);
    return undefined;
  }
}
