// Small pictures of the data sets for their buttons: points (x, y from -1 to 1, and a colour from 0 to 1).

const range = (count, make) => Array.from({ length: count }, (_, i) => make(i / (count - 1), i));

const SETS = {
  xor: () =>
    range(36, (t, i) => {
      const [x, y] = [((i % 6) - 2.5) / 3, (Math.floor(i / 6) - 2.5) / 3];
      return [x, y, x * y > 0 ? 1 : 0];
    }),
  circles: () => [
    ...range(24, (t) => [0.9 * Math.cos(6.02 * t), 0.9 * Math.sin(6.02 * t), 0]),
    ...range(11, (t) => [0.4 * Math.cos(5.7 * t), 0.4 * Math.sin(5.7 * t), 1]),
  ],
  spirals: () =>
    [0, 1].flatMap((k) =>
      range(22, (t) => {
        const [radius, angle] = [0.12 + 0.8 * t, 7 * t + Math.PI * k];
        return [radius * Math.cos(angle), radius * Math.sin(angle), k];
      }),
    ),
  moons: () => [
    ...range(15, (t) => [-0.25 + 0.62 * Math.cos(3.14 * t), -0.1 + 0.75 * Math.sin(3.14 * t), 0]),
    ...range(15, (t) => [0.25 - 0.62 * Math.cos(3.14 * t), 0.1 - 0.75 * Math.sin(3.14 * t), 1]),
  ],
  line: () =>
    range(49, (t, i) => {
      const [x, y] = [((i % 7) - 3) / 3.5, (Math.floor(i / 7) - 3) / 3.5];
      return [x, y, (x + y + 2) / 4];
    }),
  waves: () =>
    range(49, (t, i) => {
      const [x, y] = [((i % 7) - 3) / 3.5, (Math.floor(i / 7) - 3) / 3.5];
      return [x, y, 0.5 + 0.5 * Math.sin(3.2 * x) * Math.cos(3.2 * y)];
    }),
  digits: () =>
    [" ### ", "#   #", "   # ", "  #  ", " ####"].flatMap((row, r) =>
      [...row].flatMap((c, k) => (c === "#" ? [[(k - 2) / 2.6, (2 - r) / 2.6, -1]] : [])),
    ),
};

export const sample = (name) => (SETS[name] ?? (() => []))();
