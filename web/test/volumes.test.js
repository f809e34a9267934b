/** Affines, resampling and regions, by values that were computed by hand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { apply, determinant, identity, inverse, multiply, spacing } from '../../docs/try/affine.js';
import { marked } from '../../docs/try/findings.js';
import { filled, label, largest, surface } from '../../docs/try/regions.js';
import { gaussian, lay, linear, nearest } from '../../docs/try/resample.js';
import { percentile, select } from '../../docs/try/statistics.js';
import { cropped } from '../../docs/try/volume.js';

const OBLIQUE = [0, -2, 0, 10, 1, 0, 0, -5, 0, 0.5, 3, 7, 0, 0, 0, 1];

test('an affine and its inverse', () => {
  assert.deepEqual(apply(OBLIQUE, 1, 2, 3), [6, -4, 17]);
  assert.equal(determinant(OBLIQUE), 6);
  multiply(inverse(OBLIQUE), OBLIQUE).forEach((value, i) => {
    assert.ok(Math.abs(value - identity()[i]) < 1e-12);
  });
  assert.deepEqual(spacing(OBLIQUE), [1, Math.hypot(2, 0.5), 3]);
  assert.throws(() => inverse(new Array(16).fill(0)));
});

test('percentiles as numpy has them', () => {
  const values = Float32Array.from([4, 0, 1, 0, 3, 2, 0, 0]);
  assert.equal(percentile(values, 50), 0.5); // 0 0 0 0 1 2 3 4, at 3.5
  assert.equal(percentile(values, 100), 4);
  assert.ok(Math.abs(percentile(values, 99) - 3.93) < 1e-6);
  assert.equal(percentile(new Float32Array(5), 99), 0);
  assert.equal(select(Float32Array.from([5, 1, 4, 2, 3]), 3), 4);
});

test('linear interpolation between voxels, 0 outside', () => {
  const volume = { data: Float32Array.from([0, 1, 2, 3, 4, 5, 6, 7]), shape: [2, 2, 2], affine: identity() };
  const half = [0.5, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 1];
  const found = linear(volume, { shape: [4, 3, 3], affine: half });
  assert.deepEqual([...found.slice(0, 4)], [0, 0.5, 1, 0]);
  assert.equal(found[1 + 4 * (1 + 3 * 1)], 3.5); // the middle of all eight
  const mask = { ...volume, data: Uint8Array.from([0, 1, 0, 0, 0, 0, 0, 1]) };
  assert.deepEqual([...nearest(mask, { shape: [2, 1, 1], affine: identity() })], [0, 1]);
});

test('axes in another order and direction are no other place', () => {
  const data = Float32Array.from({ length: 24 }, (_, i) => i);
  const volume = { data, shape: [2, 3, 4], affine: identity() };
  // First axis: z falling; second: x; third: y.
  const grid = { shape: [4, 2, 3], affine: [0, 1, 0, 0, 0, 0, 1, 0, -1, 0, 0, 3, 0, 0, 0, 1] };
  const turned = linear(volume, grid);
  assert.equal(turned[0], data[2 * 3 * 3]);
  const again = linear({ data: turned, ...grid }, volume);
  assert.deepEqual([...again], [...data]);
});

test('a Gaussian keeps the sum and spreads a point', () => {
  const data = new Float32Array(21 ** 3);
  data[10 + 21 * (10 + 21 * 10)] = 1;
  const found = gaussian(data, [21, 21, 21], [1, 0, 0]);
  assert.ok(Math.abs(found.reduce((a, b) => a + b) - 1) < 1e-5);
  assert.ok(Math.abs(found[11 + 21 * (10 + 21 * 10)] / found[10 + 21 * (10 + 21 * 10)] - Math.exp(-0.5)) < 1e-5);
  assert.equal(found[10 + 21 * (11 + 21 * 10)], 0);
  assert.equal(gaussian(data, [21, 21, 21], [0, 0, 0]), data);
  // Two mm are coarser than one: the point is blurred before every second voxel is taken.
  const coarse = { shape: [11, 11, 11], affine: [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1] };
  const laid = lay({ data, shape: [21, 21, 21], affine: identity() }, coarse);
  assert.ok(laid[5 + 11 * (5 + 11 * 5)] < 0.2 && laid[5 + 11 * (5 + 11 * 5)] > 0.1);
});

test('regions across faces and corners', () => {
  const shape = [4, 4, 1];
  const mask = Uint8Array.from([1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
  assert.deepEqual(label(mask, shape, 6).sizes, [0, 1, 2, 1]);
  assert.deepEqual(label(mask, shape, 26).sizes, [0, 3, 1]);
  assert.deepEqual([...largest(mask, shape)].filter(Boolean).length, 2);
  assert.equal(largest(new Uint8Array(16), shape).length, 16);
});

test('a long region is followed to its end', () => {
  const shape = [300, 300, 3];
  const { sizes } = label(new Uint8Array(270_000).fill(1), shape, 26);
  assert.deepEqual(sizes, [0, 270_000]);
});

test('holes are filled, bays are not', () => {
  const shape = [5, 5, 5];
  const at = (x, y, z) => x + 5 * (y + 5 * z);
  const mask = new Uint8Array(125);
  for (const z of [1, 2, 3]) for (const y of [1, 2, 3]) for (const x of [1, 2, 3]) mask[at(x, y, z)] = 1;
  mask[at(2, 2, 2)] = 0;
  assert.equal(filled(mask, shape)[at(2, 2, 2)], 1);
  mask[at(2, 2, 1)] = 0;
  assert.equal(filled(mask, shape)[at(2, 2, 2)], 0);
  assert.equal(surface(new Uint8Array(125).fill(1), shape).reduce((a, b) => a + b), 98);
});

test('findings: small ones are left out, the highest peak comes first', () => {
  const grid = { shape: [8, 1, 1], affine: [2, 0, 0, -4, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1] };
  const map = Float32Array.from([0.6, 0.7, 0, 0.9, 0, 0.8, 0.95, 0.5]);
  const { mask, findings } = marked(map, grid, 0.5, 16);
  assert.deepEqual([...mask], [1, 1, 0, 0, 0, 1, 1, 0]);
  assert.deepEqual(findings.map(({ volume }) => volume), [0.016, 0.016]);
  assert.deepEqual(findings.map(({ mm }) => mm), [[8, 0, 0], [-2, 0, 0]]);
  assert.deepEqual(marked(map, grid, 0.99, 16).findings, []);
});

test('a part of a volume keeps its place', () => {
  const volume = { data: Float32Array.from({ length: 125 }, (_, i) => i), shape: [5, 5, 5], affine: OBLIQUE };
  const mask = new Uint8Array(125);
  mask[2 + 5 * (3 + 5 * 1)] = 1;
  const part = cropped(volume, mask, 1);
  assert.deepEqual(part.volume.shape, [3, 3, 3]);
  assert.equal(part.mask.reduce((a, b) => a + b), 1);
  assert.deepEqual(apply(part.volume.affine, 0, 0, 0), apply(OBLIQUE, 1, 2, 0));
  assert.equal(part.volume.data[0], volume.data[1 + 5 * 2]);
});
