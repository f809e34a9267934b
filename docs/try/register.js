/**
 * Affine registration of a brain to the atlas, by Mattes mutual information (IEEE TMI 22(1), 2003).
 *
 * The transform leads from the world of the atlas to that of the scan: about the middle of the
 * atlas's brain, `x' = moving + shift + linear (x - fixed)`. Entries of `linear` are counted in mm at
 * a brain's rim, so that one step length serves for all.
 */
import { apply, multiply, spacing } from './affine.js';
import { InputError } from './errors.js';
import { lay, smoothed } from './resample.js';
import { percentile } from './statistics.js';
import { cropped, eachVoxel } from './volume.js';

/** Distance of a brain's rim from its middle in mm. */
const RADIUS = 70;

/** Half the edge of the cube of the scan's world that is compared, in mm. */
const REACH = 144;

/** Voxels around a brain that are blurred with it. */
const MARGIN = 12;

/** Bins of the histogram; the outermost two on each side take the ends of the splines. */
const BINS = 32;

/** Levels: voxel edge in mm, and every how manyth voxel of the atlas along each axis is compared. */
const COARSE = { edge: 6, every: 3 };
const LEVELS = [{ edge: 4, every: 2 }, { edge: 2, every: 2 }];

/** Steps of each level: at most, the first one's length and the shortest in mm. */
const STEPS = { most: 100, first: 4, least: 0.01, relaxed: 0.6 };

/** Tilts of a head in degrees about each axis that are tried at the start. */
const TILTS = [[0, 0, 0], [20, 0, 0], [-20, 0, 0], [0, 0, 20], [0, 0, -20], [0, 20, 0], [0, -20, 0]];

/** Shift in mm after which a brain on the atlas fits less well. */
const BESIDE = 8;

/** Smallest mutual information of a brain that was registered, in nats. */
const LEAST = 0.1;

/**
 * The transform from the atlas's world to the scan's.
 * @param {import('./volume.js').Volume} scan
 * @param {Uint8Array} mask Its brain.
 * @param {import('./detect.js').Atlas} atlas
 * @returns {import('./affine.js').Affine}
 * @throws {InputError} The two do not fit.
 */
export function register(scan, mask, atlas) {
  const fixed = middle(atlas.inside, atlas);
  const moving = middle(mask, scan);
  const image = brain(scan, mask);
  const size = Math.cbrt(moving.volume / fixed.volume);
  const start = tilt => ({ linear: rotation(tilt).map(value => size * value), shift: [0, 0, 0] });
  const at = level => comparison(image, atlas, fixed.mm, moving.mm, level);
  const coarse = at(COARSE);
  const tried = TILTS.map(tilt => climbed(coarse, start(tilt), 'similarity'));
  let best = tried.reduce((a, b) => (b.similarity > a.similarity ? b : a));
  for (const level of LEVELS) best = climbed(at(level), best, 'affine');
  if (!(best.similarity > LEAST)) throw new InputError('The brain could not be registered to the atlas.');
  return asMatrix(best, fixed.mm, moving.mm);
}

/**
 * Whether a brain lies on the atlas as it is: it fits there better than after a shift to any side.
 * @param {import('./volume.js').Volume} scan
 * @param {Uint8Array} mask Its brain.
 * @param {import('./detect.js').Atlas} atlas
 */
export function isLaid(scan, mask, atlas) {
  const fixed = middle(atlas.inside, atlas).mm;
  const moving = middle(mask, scan).mm;
  const level = comparison(brain(scan, mask), atlas, fixed, moving, LEVELS[0]);
  const straight = [1, 0, 0, 0, 1, 0, 0, 0, 1];
  const here = fixed.map((mm, axis) => mm - moving[axis]);
  const at = shift => compared(level, straight, shift).similarity;
  const own = at(here);
  return [0, 1, 2].every(axis => [-BESIDE, BESIDE].every(mm => (
    own > at(here.map((value, i) => (i === axis ? value + mm : value)))
  )));
}

/** Middle in mm and volume in mm³ of a mask. */
function middle(mask, { shape, affine }) {
  const sum = [0, 0, 0];
  let n = 0;
  eachVoxel(mask, shape, (x, y, z) => {
    sum[0] += x;
    sum[1] += y;
    sum[2] += z;
    n++;
  });
  const volume = n * spacing(affine).reduce((a, b) => a * b, 1);
  return { mm: apply(affine, ...sum.map(value => value / n)), volume };
}

/** A scan from 0 to the 99.5th percentile of its brain, 0 outside of it. */
function brain(scan, mask) {
  const part = cropped(scan, mask, MARGIN);
  const { data } = part.volume;
  for (let at = 0; at < data.length; at++) data[at] = part.mask[at] ? Math.max(data[at], 0) : 0;
  return { ...part.volume, data: scaled(data) };
}

function scaled(data) {
  const top = percentile(data.filter(value => value > 0), 99.5);
  const out = new Float32Array(data.length);
  for (let at = 0; at < data.length; at++) out[at] = Math.min(data[at] / top, 1);
  return out;
}

/** What is compared at a level: samples of the atlas, and the scan on voxels of that size. */
function comparison(image, atlas, fixed, moving, { edge, every }) {
  const n = Math.ceil(2 * REACH / edge);
  const start = moving.map(mm => mm - REACH);
  const affine = [edge, 0, 0, start[0], 0, edge, 0, start[1], 0, 0, edge, start[2], 0, 0, 0, 1];
  const grid = { shape: [n, n, n], affine };
  const blurred = scaled(smoothed({ ...atlas, data: atlas.t1 }, edge).data);
  const places = [];
  const bins = [];
  eachVoxel(atlas.inside, atlas.shape, (x, y, z, at) => {
    if (x % every || y % every || z % every) return;
    const mm = apply(atlas.affine, x, y, z);
    places.push(...mm.map((value, axis) => (value - fixed[axis]) / RADIUS));
    bins.push(Math.min(Math.floor(blurred[at] * BINS), BINS - 1));
  });
  const own = { places: Float64Array.from(places), bins: Uint8Array.from(bins) };
  return { ...own, data: lay(image, grid), n, edge, moving };
}

/**
 * Climb by regular steps along the gradient; a step is shortened where the way turns.
 * @param {object} level Of `comparison`.
 * @param {{linear: number[], shift: number[]}} from
 * @param {'similarity' | 'affine'} kind
 */
function climbed(level, from, kind) {
  let { linear, shift } = from;
  let length = STEPS.first;
  let before = null;
  let best = { linear, shift, similarity: -Infinity };
  for (let step = 0; step < STEPS.most && length > STEPS.least; step++) {
    const { similarity, gradient } = compared(level, linear, shift);
    if (similarity > best.similarity) best = { linear, shift, similarity };
    const way = kind === 'affine' ? gradient : withinSimilarity(gradient, linear);
    const norm = Math.hypot(...way);
    if (!(norm > 0)) break;
    const along = way.map(value => value / norm);
    if (before && along.reduce((sum, value, i) => sum + value * before[i], 0) < 0) {
      length *= STEPS.relaxed;
    }
    before = along;
    linear = linear.map((value, i) => value + length * along[i] / RADIUS);
    shift = shift.map((value, axis) => value + length * along[9 + axis]);
  }
  return best;
}

/** The part of a gradient that turns and scales all axes alike. */
function withinSimilarity(gradient, linear) {
  const by = generator => [0, 1, 2].flatMap(i => [0, 1, 2].map(j => (
    [0, 1, 2].reduce((sum, k) => sum + generator[3 * i + k] * linear[3 * k + j], 0)
  )));
  const ways = [
    [0, 0, 0, 0, 0, -1, 0, 1, 0], [0, 0, 1, 0, 0, 0, -1, 0, 0], [0, -1, 0, 1, 0, 0, 0, 0, 0],
    [1, 0, 0, 0, 1, 0, 0, 0, 1],
  ].map(by);
  const out = [...Array(9).fill(0), ...gradient.slice(9)];
  for (const way of ways) {
    const square = way.reduce((sum, value) => sum + value * value, 0);
    const part = way.reduce((sum, value, i) => sum + value * gradient[i], 0) / square;
    way.forEach((value, i) => { out[i] += part * value; });
  }
  return out;
}

/**
 * Mutual information of two images, and its gradient by the nine entries of `linear`, in mm at the
 * rim, and by the shift.
 */
function compared({ places, bins, data, n, edge }, linear, shift) {
  const samples = bins.length;
  const value = new Float32Array(samples);
  const slope = new Float32Array(3 * samples);
  const joint = new Float64Array(BINS * BINS);
  const l = linear.map(entry => entry * RADIUS / edge);
  const middle = shift.map(mm => (mm + REACH) / edge);
  const plane = n * n;
  for (let i = 0; i < samples; i++) {
    const [u, v, w] = [places[3 * i], places[3 * i + 1], places[3 * i + 2]];
    const x = l[0] * u + l[1] * v + l[2] * w + middle[0];
    const y = l[3] * u + l[4] * v + l[5] * w + middle[1];
    const z = l[6] * u + l[7] * v + l[8] * w + middle[2];
    let found = 0;
    if (x >= 0 && y >= 0 && z >= 0 && x < n - 1 && y < n - 1 && z < n - 1) {
      const [a, b, c] = [x | 0, y | 0, z | 0];
      const [fx, fy, fz] = [x - a, y - b, z - c];
      const o = a + n * b + plane * c;
      const [v000, v100] = [data[o], data[o + 1]];
      const [v010, v110] = [data[o + n], data[o + n + 1]];
      const [v001, v101] = [data[o + plane], data[o + plane + 1]];
      const [v011, v111] = [data[o + plane + n], data[o + plane + n + 1]];
      const [p00, p10] = [v000 + fx * (v100 - v000), v010 + fx * (v110 - v010)];
      const [p01, p11] = [v001 + fx * (v101 - v001), v011 + fx * (v111 - v011)];
      const [q0, q1] = [p00 + fy * (p10 - p00), p01 + fy * (p11 - p01)];
      found = q0 + fz * (q1 - q0);
      const near = v100 - v000 + fy * (v110 - v010 - v100 + v000);
      const far = v101 - v001 + fy * (v111 - v011 - v101 + v001);
      slope[3 * i] = (near + fz * (far - near)) / edge;
      slope[3 * i + 1] = (p10 - p00 + fz * (p11 - p01 - p10 + p00)) / edge;
      slope[3 * i + 2] = (q1 - q0) / edge;
    }
    // Two bins on each side for the splines.
    const place = 2 + found * (BINS - 5);
    value[i] = place;
    const low = (place | 0) - 1;
    for (let k = 0; k < 4; k++) joint[bins[i] * BINS + low + k] += spline(low + k - place);
  }
  const ratio = informed(joint, samples);
  const gradient = new Float64Array(12);
  for (let i = 0; i < samples; i++) {
    const low = (value[i] | 0) - 1;
    let weight = 0;
    for (let k = 0; k < 4; k++) {
      weight -= splineSlope(low + k - value[i]) * ratio.log[bins[i] * BINS + low + k];
    }
    if (!weight) continue;
    for (let axis = 0; axis < 3; axis++) {
      const part = weight * slope[3 * i + axis];
      gradient[3 * axis] += part * places[3 * i];
      gradient[3 * axis + 1] += part * places[3 * i + 1];
      gradient[3 * axis + 2] += part * places[3 * i + 2];
      gradient[9 + axis] += part;
    }
  }
  return { similarity: ratio.information, gradient: Array.from(gradient) };
}

/** Mutual information of a joint histogram, and log(p(f, m) / p(m)) of its bins. */
function informed(joint, samples) {
  const fixed = new Float64Array(BINS);
  const moving = new Float64Array(BINS);
  for (let at = 0; at < joint.length; at++) {
    joint[at] /= samples;
    fixed[Math.floor(at / BINS)] += joint[at];
    moving[at % BINS] += joint[at];
  }
  const log = new Float64Array(joint.length);
  let information = 0;
  for (let at = 0; at < joint.length; at++) {
    if (joint[at] < 1e-12) continue;
    log[at] = Math.log(joint[at] / moving[at % BINS]);
    information += joint[at] * (log[at] - Math.log(fixed[Math.floor(at / BINS)]));
  }
  return { information, log };
}

/** The cubic B-spline. */
function spline(x) {
  const a = Math.abs(x);
  if (a >= 2) return 0;
  return a < 1 ? (4 - 6 * a * a + 3 * a * a * a) / 6 : (2 - a) ** 3 / 6;
}

function splineSlope(x) {
  const a = Math.abs(x);
  if (a >= 2) return 0;
  return Math.sign(x) * (a < 1 ? (-12 * a + 9 * a * a) / 6 : -((2 - a) ** 2) / 2);
}

/** A rotation by angles in degrees about the three axes in turn, as nine numbers. */
function rotation(degrees) {
  const [a, b, c] = degrees.map(value => value * Math.PI / 180);
  const x = [1, 0, 0, 0, 0, Math.cos(a), -Math.sin(a), 0, 0, Math.sin(a), Math.cos(a), 0, 0, 0, 0, 1];
  const y = [Math.cos(b), 0, Math.sin(b), 0, 0, 1, 0, 0, -Math.sin(b), 0, Math.cos(b), 0, 0, 0, 0, 1];
  const z = [Math.cos(c), -Math.sin(c), 0, 0, Math.sin(c), Math.cos(c), 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
  const m = multiply(z, multiply(y, x));
  return [m[0], m[1], m[2], m[4], m[5], m[6], m[8], m[9], m[10]];
}

/** A transform as one matrix, from the atlas's world to the scan's. */
function asMatrix({ linear: l, shift }, fixed, moving) {
  const matrix = [l[0], l[1], l[2], 0, l[3], l[4], l[5], 0, l[6], l[7], l[8], 0, 0, 0, 0, 1];
  const gone = apply(matrix, ...fixed);
  for (const axis of [0, 1, 2]) matrix[4 * axis + 3] = moving[axis] + shift[axis] - gone[axis];
  return matrix;
}
