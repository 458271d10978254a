// Requests to the server. A failure is an Error whose message is the server's one line.

async function checked(promise) {
  let response;
  try {
    response = await promise;
  } catch {
    throw new Error("The server does not answer. Start it again with: xpmlp play");
  }
  if (response.ok) return response;
  let line;
  try {
    line = (await response.json()).error;
  } catch {
    /* not ours: say the status */
  }
  throw new Error(line || `The server answered ${response.status} ${response.statusText}`);
}

export async function get(path) {
  return (await checked(fetch(`/api/${path}`))).json();
}

export async function post(path, body = {}) {
  const options = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  return (await checked(fetch(`/api/${path}`, options))).json();
}

/** Send a file's bytes as they are. */
export async function send(path, file) {
  const options = {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream" },
    body: file,
  };
  return (await checked(fetch(`/api/${path}`, options))).json();
}

/** What can be saved: its bytes, and the name that the server gives it. */
export async function download(path, name) {
  const response = await checked(fetch(`/api/${path}`));
  const given = /filename="?([\w.-]+)"?/.exec(response.headers.get("Content-Disposition") || "");
  return { blob: await response.blob(), name: given ? given[1] : name };
}

/** The next frame that is not frame `after`; null if none came while the server waited. */
export async function frame(after, signal) {
  const response = await checked(fetch(`/api/frame?after=${after}`, { signal }));
  return response.status === 204 ? null : decode(await response.arrayBuffer());
}

const TYPES = { u1: Uint8Array, f4: Float32Array };

/** A frame: its head, with `arrays` by name, each {data, shape, range}. */
export function decode(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let offset = 4 + length;
  const arrays = {};
  for (const { name, dtype, shape, range } of head.arrays) {
    const Type = TYPES[dtype];
    const bytes = shape.reduce((a, b) => a * b, 1) * Type.BYTES_PER_ELEMENT;
    // A slice is aligned, wherever the bytes before it end.
    arrays[name] = { data: new Type(buffer.slice(offset, offset + bytes)), shape, range };
    offset += bytes;
  }
  return { ...head, arrays };
}
