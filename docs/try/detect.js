/** From a scan without skull to a map on its own grid. */
import { inverse, multiply, spacing } from './affine.js';
import { lay, linear, smoothed } from './resample.js';
import { cropped, eachVoxel, total } from './volume.js';

/** Largest share of a brain outside the model's grid. */
const LOST = 0.02;

/** Voxels around a brain that are resampled with it. */
const MARGIN = 8;

/** Smallest share of a brain inside the atlas's. */
const LEAST_INSIDE = 0.8;

/**
 * @typedef {object} Atlas On the model's grid.
 * @property {number[]} shape
 * @property {number[]} affine
 * @property {Uint8Array} inside Its brain.
 * @property {Float32Array} t1 The brain in T1w.
 */

/**
 * The map of a scan that lies in the atlas's world.
 * @param {import('./volume.js').Grid} scan
 * @param {Uint8Array} mask Its brain.
 * @param {{image: Float32Array, inside: Uint8Array}} laid Result of `onModelGrid`.
 * @param {import('./volume.js').Grid} grid The model's.
 * @param {(image: Float32Array, inside: Uint8Array) => Promise<Float32Array>} model Takes and
 *   returns volumes on its grid with the last axis running fastest.
 * @returns {Promise<Float32Array>} On the grid of the scan, 0 outside its brain.
 */
export async function detect(scan, mask, { image, inside }, grid, model) {
  const found = await model(lastFastest(image, grid.shape), lastFastest(inside, grid.shape));
  const map = { ...grid, data: firstFastest(found, grid.shape) };
  const own = lay(map, scan);
  for (let at = 0; at < own.length; at++) if (!mask[at]) own[at] = 0;
  return own;
}

/**
 * Scan and brain on the model's grid; null for a scan that does not lie on the atlas.
 * @param {import('./volume.js').Volume} scan
 * @param {Uint8Array} mask
 * @param {Atlas} atlas
 * @returns {{image: Float32Array, inside: Uint8Array, overlap: number} | null} `overlap` is the
 *   Dice with the atlas's brain.
 */
export function onModelGrid(scan, mask, atlas) {
  if (shareOutside(mask, scan, atlas) > LOST) return null;
  // The margin is wider than any filter's reach, so that the rest counts nothing.
  const part = cropped(scan, mask, MARGIN);
  const share = lay({ ...part.volume, data: Float32Array.from(part.mask) }, atlas);
  const inside = new Uint8Array(share.length);
  let common = 0;
  for (let at = 0; at < share.length; at++) {
    inside[at] = share[at] >= 0.5 ? 1 : 0;
    if (inside[at] && atlas.inside[at]) common++;
  }
  const own = total(inside);
  if (common < LEAST_INSIDE * own) return null;
  const brain = part.volume.data;
  let top = 1e-6;
  for (let at = 0; at < brain.length; at++) {
    brain[at] = part.mask[at] ? Math.max(brain[at], 0) : 0;
    top = Math.max(top, brain[at]);
  }
  const image = lay(part.volume, atlas);
  for (let at = 0; at < image.length; at++) image[at] = inside[at] ? image[at] / top : 0;
  return { image, inside, overlap: 2 * common / (own + total(atlas.inside)) };
}

/**
 * A registered scan and its brain on the grid of prepared scans.
 * @param {import('./volume.js').Volume} scan
 * @param {import('./affine.js').Affine} affine Its voxels to the atlas's world.
 * @param {Uint8Array} mask Its brain.
 * @param {import('./volume.js').Grid} grid
 * @returns {{volume: import('./volume.js').Volume, mask: Uint8Array}}
 */
export function onPreparedGrid(scan, affine, mask, grid) {
  const edge = Math.max(...spacing(grid.affine));
  const carried = data => linear({ ...smoothed({ ...scan, data }, edge), affine }, grid);
  const share = carried(Float32Array.from(mask));
  const inside = new Uint8Array(share.length);
  for (let at = 0; at < share.length; at++) inside[at] = share[at] >= 0.5 ? 1 : 0;
  const brain = new Float32Array(mask.length);
  for (let at = 0; at < mask.length; at++) brain[at] = mask[at] ? Math.max(scan.data[at], 0) : 0;
  return { volume: { ...grid, data: carried(brain) }, mask: inside };
}

/** The share of a brain's voxels whose centres lie outside a grid. */
function shareOutside(mask, scan, grid) {
  const m = multiply(inverse(grid.affine), scan.affine);
  let away = 0;
  eachVoxel(mask, scan.shape, (x, y, z) => {
    for (let axis = 0; axis < 3; axis++) {
      const at = m[4 * axis] * x + m[4 * axis + 1] * y + m[4 * axis + 2] * z + m[4 * axis + 3];
      if (at < -0.5 || at > grid.shape[axis] - 0.5) {
        away++;
        return;
      }
    }
  });
  return away / Math.max(total(mask), 1);
}

/** From NIfTI's order of voxels to that of tensors. */
function lastFastest(data, [nx, ny, nz]) {
  const out = new data.constructor(data.length);
  for (let x = 0, to = 0; x < nx; x++) {
    for (let y = 0; y < ny; y++) for (let z = 0; z < nz; z++) out[to++] = data[x + nx * (y + ny * z)];
  }
  return out;
}

/** From the order of tensors to NIfTI's. */
function firstFastest(data, [nx, ny, nz]) {
  const out = new data.constructor(data.length);
  for (let x = 0, from = 0; x < nx; x++) {
    for (let y = 0; y < ny; y++) for (let z = 0; z < nz; z++) out[x + nx * (y + ny * z)] = data[from++];
  }
  return out;
}
