// The settings in the address, after #: only those that are not the defaults, so that it stays short.

/** `spirals`, `0.03`, `4,4`: as text, so that `parse` finds the same value. */
function write(value) {
  if (typeof value === "string") return isPlain(value) ? value : JSON.stringify(value);
  if (Array.isArray(value) && value.length && value.every(Number.isFinite))
    return value.length > 1 ? value.join(",") : `[${value}]`;
  return JSON.stringify(value);
}

function isPlain(text) {
  return typeof parse(text) === "string" && !/^["[{]/.test(text);
}

function parse(text) {
  if (/^-?\d+(,-?\d+)+$/.test(text)) return text.split(",").map(Number);
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** Settings as the part of an address after #. */
export function toHash(settings, defaults) {
  const parts = Object.keys(settings)
    .filter((name) => settings[name] !== undefined && !same(settings[name], defaults[name] ?? null))
    .map((name) => `${name}=${encodeURIComponent(write(settings[name])).replaceAll("%2C", ",")}`);
  return parts.join("&");
}

/** The settings that stand in an address; null if there are none. */
export function fromHash(hash, defaults) {
  const text = hash.replace(/^#/, "");
  if (!text.includes("=")) return null;
  const found = { ...defaults };
  for (const part of text.split("&")) {
    const [name, ...rest] = part.split("=");
    try {
      found[name] = parse(decodeURIComponent(rest.join("=")));
    } catch {
      found[name] = rest.join("="); // a broken % stays as it is: the server says what is wrong
    }
    // Written by hand, one layer is `hidden=8`, and none `hidden=`.
    if (Array.isArray(defaults[name]) && !Array.isArray(found[name]))
      found[name] = found[name] === "" ? [] : [found[name]];
  }
  return found;
}
