/**
 * A volume: voxels with the first axis running fastest, as NIfTI stores them.
 * @typedef {object} Volume
 * @property {Float32Array} data
 * @property {number[]} shape Three numbers.
 * @property {import('./affine.js').Affine} affine Voxels to mm (RAS).
 */

/**
 * A grid without voxels.
 * @typedef {{shape: number[], affine: import('./affine.js').Affine}} Grid
 */

/**
 * The number of voxels of a shape.
 * @param {number[]} shape
 */
export const count = shape => shape.reduce((product, n) => product * n, 1);

/**
 * The place of each voxel of a mask.
 * @param {Uint8Array} mask
 * @param {number[]} shape
 * @param {(x: number, y: number, z: number, at: number) => void} visit
 */
export function eachVoxel(mask, shape, visit) {
  const [nx, ny, nz] = shape;
  for (let z = 0, at = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) {
      for (let x = 0; x < nx; x++, at++) if (mask[at]) visit(x, y, z, at);
    }
  }
}

/**
 * The number of voxels of a mask.
 * @param {Uint8Array} mask
 */
export function total(mask) {
  let found = 0;
  for (let i = 0; i < mask.length; i++) found += mask[i];
  return found;
}

/**
 * The part of a volume around a mask, and the mask there.
 * @param {Volume} volume
 * @param {Uint8Array} mask Not empty.
 * @param {number} margin In voxels.
 * @returns {{volume: Volume, mask: Uint8Array}}
 */
export function cropped({ data, shape, affine }, mask, margin) {
  const low = [...shape];
  const high = [0, 0, 0];
  eachVoxel(mask, shape, (x, y, z) => {
    if (x < low[0]) low[0] = x;
    if (y < low[1]) low[1] = y;
    if (z < low[2]) low[2] = z;
    if (x >= high[0]) high[0] = x + 1;
    if (y >= high[1]) high[1] = y + 1;
    if (z >= high[2]) high[2] = z + 1;
  });
  const start = low.map(n => Math.max(n - margin, 0));
  const size = high.map((n, axis) => Math.min(n + margin, shape[axis]) - start[axis]);
  const part = { data: new Float32Array(count(size)), shape: size, affine: shiftedTo(affine, start) };
  const inside = new Uint8Array(count(size));
  let to = 0;
  for (let z = start[2]; z < start[2] + size[2]; z++) {
    for (let y = start[1]; y < start[1] + size[1]; y++) {
      const from = start[0] + shape[0] * (y + shape[1] * z);
      part.data.set(data.subarray(from, from + size[0]), to);
      inside.set(mask.subarray(from, from + size[0]), to);
      to += size[0];
    }
  }
  return { volume: part, mask: inside };
}

/** The affine of a part that begins at a voxel. */
function shiftedTo(affine, [x, y, z]) {
  const found = [...affine];
  for (const row of [0, 4, 8]) {
    found[row + 3] += affine[row] * x + affine[row + 1] * y + affine[row + 2] * z;
  }
  return found;
}
