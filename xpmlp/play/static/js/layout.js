// Where the units of a network stand: layers from left to right; a layer of many units in several columns.

const TOP = 54;
const HIGH = 300;

/** {width, height, layers: [[{x, y, side}]], columns: [{x, width}]}, in pixels. */
export function layout(sizes, available) {
  for (const most of [32, 26, 20]) {
    const made = arranged(sizes, available, most);
    if (made.width <= available || most === 20) return made;
  }
  return undefined;
}

/** With units of layers in several columns at most so large. */
function arranged(sizes, available, most) {
  const blocks = sizes.map((count) => {
    const root = Math.sqrt(count);
    const rows =
      count <= 10
        ? count
        : Number.isInteger(root) && root > 5
          ? root
          : Math.floor(HIGH / (most + 2));
    const across = Math.ceil(count / rows);
    const inColumn = Math.ceil(count / across);
    const side = Math.max(9, Math.min(44, HIGH / inColumn - 6, across > 1 ? most : 44));
    return { count, inColumn, across, side };
  });
  const narrow = available < 420;
  if (narrow)
    for (const block of blocks) block.side = Math.min(block.side, block.across > 2 ? 9 : 32);
  const gap = (block) => (block.across > 1 ? 2 : 6);
  const wide = (block) => Math.max(block.across * (block.side + gap(block)), narrow ? 44 : 74);
  const total = blocks.reduce((sum, block) => sum + wide(block), 0);
  const between = Math.max(narrow ? 8 : 26, (available - total) / Math.max(blocks.length - 1, 1));
  const width = Math.max(available, total + between * (blocks.length - 1));
  let left = 0;
  const columns = [];
  const layers = blocks.map((block) => {
    const middle = left + wide(block) / 2;
    columns.push({ x: middle, width: Math.max(wide(block), 74) });
    left += wide(block) + between;
    return place(block, middle, gap(block));
  });
  const bottom = Math.max(...layers.flat().map(({ y, side }) => y + side / 2));
  return {
    width: Math.floor(width),
    height: Math.max(bottom + 6, TOP + HIGH * 0.7),
    layers,
    columns,
  };
}

function place({ count, inColumn, across, side }, middle, gap) {
  const pitch = side + (across > 1 ? gap : Math.min(22, Math.max(gap, HIGH / inColumn - side)));
  const top = TOP + Math.max(0, HIGH - pitch * inColumn) / 2 + side / 2;
  return Array.from({ length: count }, (_, k) => {
    // Pixels of a picture are in rows; units fill columns.
    const square = across * inColumn === count && across === inColumn;
    const [row, column] = square
      ? [Math.floor(k / across), k % across]
      : [k % inColumn, Math.floor(k / inColumn)];
    return { x: middle + (column - (across - 1) / 2) * (side + gap), y: top + row * pitch, side };
  });
}
