/** The brain of a scan without skull, by the rules of `brainuad.preparation.skullstrip`. */
import { voxelVolume } from './affine.js';
import { InputError } from './errors.js';
import { filled, largest } from './regions.js';
import { percentile } from './statistics.js';
import { total } from './volume.js';

/** Share of the 99th percentile that still counts as background. */
const TOLERANCE = 0.01;

/** Smallest share of background of one value in a scan without skull. */
const EMPTY = 0.4;

/** Largest share of a face of the array that a brain reaches. */
const EDGES = 0.01;

/** Volumes of adults' brains in ml; what is outside is none. */
const BRAIN_ML = [700, 2100];

/** Share of the 99th percentile that interpolation leaves below 0. */
const BELOW = 0.1;

/** Share of the foreground that may lie below that. */
const FEW = 0.01;

/**
 * The brain mask of a scan without skull.
 * @param {import('./volume.js').Volume} scan
 * @returns {{mask: Uint8Array, warnings: string[]}}
 * @throws {InputError} It is no such scan.
 */
export function findBrain(scan) {
  const magnitude = new Float32Array(scan.data.length);
  for (let at = 0; at < magnitude.length; at++) magnitude[at] = Math.abs(scan.data[at]);
  const top = percentile(magnitude, 99);
  if (top === 0) throw new InputError('All voxels are 0, or nearly all. Export the scan again.');
  if (isLabelMap(scan.data)) throw new InputError('A label map, not a scan. Choose the scan.');
  if (shareBelow(scan.data, -BELOW * top, TOLERANCE * top) > FEW) {
    throw new InputError(
      'Much of it is below 0. Is it a z-score? Choose the scan as it was before normalisation.',
    );
  }
  const foreground = new Uint8Array(magnitude.length);
  for (let at = 0; at < magnitude.length; at++) foreground[at] = magnitude[at] > TOLERANCE * top ? 1 : 0;
  const mask = filled(largest(foreground, scan.shape), scan.shape);
  const ml = total(mask) * voxelVolume(scan.affine) / 1000;
  const bare = 1 - total(foreground) / foreground.length;
  const share = Math.round(100 * bare);
  if (ml > BRAIN_ML[1] || bare < EMPTY / 2) {
    throw new InputError(
      `The skull seems to be still on: ${share} % of the voxels are empty and the rest has `
      + `${Math.round(ml)} ml, more than a brain. Prepare the scan with brainuad-prepare SCANS COHORT `
      + 'and choose its file in COHORT/work together with its brain mask in COHORT/masks.',
    );
  }
  if (ml < BRAIN_ML[0]) {
    throw new InputError(
      `Only ${Math.round(ml)} ml are not empty, less than a brain has. Does the scan hold the whole `
      + 'brain, and is its voxel size right?',
    );
  }
  const reached = Math.max(...[0, 1, 2].map(axis => faces(foreground, scan.shape, axis)));
  const warnings = [];
  if (bare < EMPTY || reached >= EDGES) {
    warnings.push('The brain reaches the edge of the picture. Check that no skull is left.');
  }
  return { mask, warnings };
}

/** The share of a scan's foreground that lies below a value. */
function shareBelow(data, value, tolerance) {
  let [below, all] = [0, 0];
  for (let at = 0; at < data.length; at++) {
    if (Math.abs(data[at]) > tolerance) all++;
    if (data[at] < value) below++;
  }
  return below / Math.max(all, 1);
}

/** Whether an array holds 2 to 16 values, all of them whole. */
function isLabelMap(data) {
  const values = new Set();
  for (let i = 0; i < data.length; i++) {
    if (!Number.isInteger(data[i])) return false;
    values.add(data[i]);
    if (values.size > 16) return false;
  }
  return values.size > 1;
}

/** The share of foreground of an array's first and last plane along an axis. */
function faces(foreground, shape, axis) {
  const [nx, ny] = shape;
  const ends = shape.map((n, other) => (other === axis ? [0, n - 1] : Array.from({ length: n }, (_, i) => i)));
  let found = 0;
  for (const z of ends[2]) {
    for (const y of ends[1]) for (const x of ends[0]) found += foreground[x + nx * (y + ny * z)];
  }
  return found / (ends[0].length * ends[1].length * ends[2].length);
}
