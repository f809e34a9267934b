/** From a map and a threshold to a mask and the list of its findings. */
import { apply, voxelVolume } from './affine.js';
import { label } from './regions.js';

/**
 * @typedef {object} Finding
 * @property {number} volume In ml.
 * @property {number} peak Largest score.
 * @property {number[]} mm Place of the peak in the scan's world.
 */

/**
 * The voxels above a threshold without small regions, and those that are left.
 * @param {Float32Array} map
 * @param {import('./volume.js').Grid} grid
 * @param {number} threshold
 * @param {number} smallest Smallest volume that stays, in mm³.
 * @returns {{mask: Uint8Array, findings: Finding[]}} Findings by falling peak, then volume.
 */
export function marked(map, grid, threshold, smallest) {
  const edge = voxelVolume(grid.affine);
  const fewest = Math.ceil(smallest / edge - 1e-6);
  const above = new Uint8Array(map.length);
  for (let at = 0; at < map.length; at++) above[at] = map[at] > threshold ? 1 : 0;
  const { labels, sizes } = label(above, grid.shape);
  const peaks = new Int32Array(sizes.length).fill(-1);
  const mask = new Uint8Array(map.length);
  for (let at = 0; at < map.length; at++) {
    const number = labels[at];
    if (!number || sizes[number] < fewest) continue;
    mask[at] = 1;
    if (peaks[number] < 0 || map[at] > map[peaks[number]]) peaks[number] = at;
  }
  const [nx, ny] = grid.shape;
  const findings = [];
  for (let number = 1; number < sizes.length; number++) {
    const at = peaks[number];
    if (at < 0) continue;
    const voxel = [at % nx, Math.floor(at / nx) % ny, Math.floor(at / (nx * ny))];
    const volume = sizes[number] * edge / 1000;
    findings.push({ volume, peak: map[at], mm: apply(grid.affine, ...voxel) });
  }
  findings.sort((a, b) => b.peak - a.peak || b.volume - a.volume);
  return { mask, findings };
}
