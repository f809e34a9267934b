/**
 * Affines: `(4, 4)` matrices as arrays of 16 numbers, row by row, from voxels to mm (RAS).
 * @typedef {number[]} Affine
 */

/** @returns {Affine} The identity. */
export const identity = () => [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];

/**
 * The product of two matrices: the second is applied first.
 * @param {Affine} a
 * @param {Affine} b
 * @returns {Affine}
 */
export function multiply(a, b) {
  const out = new Array(16).fill(0);
  for (let row = 0; row < 4; row++) {
    for (let column = 0; column < 4; column++) {
      for (let k = 0; k < 4; k++) out[4 * row + column] += a[4 * row + k] * b[4 * k + column];
    }
  }
  return out;
}

/**
 * Determinant of the linear part.
 * @param {Affine} m
 */
export function determinant(m) {
  return (
    m[0] * (m[5] * m[10] - m[6] * m[9])
    - m[1] * (m[4] * m[10] - m[6] * m[8])
    + m[2] * (m[4] * m[9] - m[5] * m[8])
  );
}

/**
 * The inverse of an affine, whose last row is 0 0 0 1.
 * @param {Affine} m
 * @returns {Affine}
 */
export function inverse(m) {
  const d = determinant(m);
  if (!Number.isFinite(d) || d === 0) throw new Error('a matrix without inverse');
  const r = [
    (m[5] * m[10] - m[6] * m[9]) / d, (m[2] * m[9] - m[1] * m[10]) / d, (m[1] * m[6] - m[2] * m[5]) / d,
    (m[6] * m[8] - m[4] * m[10]) / d, (m[0] * m[10] - m[2] * m[8]) / d, (m[2] * m[4] - m[0] * m[6]) / d,
    (m[4] * m[9] - m[5] * m[8]) / d, (m[1] * m[8] - m[0] * m[9]) / d, (m[0] * m[5] - m[1] * m[4]) / d,
  ];
  const t = [0, 1, 2].map(i => -(r[3 * i] * m[3] + r[3 * i + 1] * m[7] + r[3 * i + 2] * m[11]));
  return [r[0], r[1], r[2], t[0], r[3], r[4], r[5], t[1], r[6], r[7], r[8], t[2], 0, 0, 0, 1];
}

/**
 * A point through an affine.
 * @param {Affine} m
 * @param {number} x
 * @param {number} y
 * @param {number} z
 * @returns {number[]} Three numbers.
 */
export function apply(m, x, y, z) {
  return [
    m[0] * x + m[1] * y + m[2] * z + m[3],
    m[4] * x + m[5] * y + m[6] * z + m[7],
    m[8] * x + m[9] * y + m[10] * z + m[11],
  ];
}

/**
 * Edge lengths of a voxel in mm.
 * @param {Affine} m
 * @returns {number[]}
 */
export function spacing(m) {
  return [0, 1, 2].map(i => Math.hypot(m[i], m[4 + i], m[8 + i]));
}

/**
 * Volume of a voxel in mm³.
 * @param {Affine} m
 */
export const voxelVolume = m => spacing(m).reduce((product, edge) => product * edge, 1);

/**
 * The largest difference between two matrices.
 * @param {Affine} a
 * @param {Affine} b
 */
export const apart = (a, b) => Math.max(...a.map((value, i) => Math.abs(value - b[i])));
