/** Registration of brains that were moved by a known transform. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { apply, inverse, multiply } from '../../docs/try/affine.js';
import { isLaid, register } from '../../docs/try/register.js';
import { eachVoxel } from '../../docs/try/volume.js';

const GRID = { shape: [48, 56, 44], affine: [4, 0, 0, -94, 0, 4, 0, -126, 0, 0, 4, -80, 0, 0, 0, 1] };

/** A brain of ellipsoids: rim, white matter, ventricles off the middle, so that it has sides. */
function phantom(levels, to = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]) {
  const data = new Float32Array(48 * 56 * 44);
  const mask = new Uint8Array(data.length);
  const back = inverse(to);
  const parts = [[[0, -18, 8], [66, 82, 62]], [[0, -18, 8], [54, 70, 50]], [[10, -8, 14], [18, 30, 12]], [[-30, -50, -10], [12, 14, 12]]];
  eachVoxel(new Uint8Array(data.length).fill(1), GRID.shape, (x, y, z, at) => {
    const mm = apply(back, ...apply(GRID.affine, x, y, z));
    parts.forEach(([middle, half], kind) => {
      const inside = mm.reduce((sum, value, i) => sum + ((value - middle[i]) / half[i]) ** 2, 0) < 1;
      if (inside) data[at] = levels[kind];
    });
    mask[at] = data[at] ? 1 : 0;
  });
  return { ...GRID, data, mask };
}

const fixed = phantom([0.5, 0.9, 0.2, 0.6]);
const atlas = { ...GRID, inside: fixed.mask, t1: fixed.data };

function farthest(found, expected) {
  let most = 0;
  eachVoxel(fixed.mask, GRID.shape, (x, y, z) => {
    const mm = apply(GRID.affine, x, y, z);
    const [a, b] = [apply(found, ...mm), apply(expected, ...mm)];
    most = Math.max(most, Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]));
  });
  return most;
}

test('a brain of another contrast, turned, scaled and moved', () => {
  const c = Math.cos(0.2);
  const s = Math.sin(0.2);
  const to = multiply([1, 0, 0, 6, 0, c, -s, 9, 0, s, c, -7, 0, 0, 0, 1], [0.95, 0, 0, 0, 0, 0.93, 0, 0, 0, 0, 0.97, 0, 0, 0, 0, 1]);
  const moved = phantom([0.9, 0.6, 1, 0.3], to);
  assert.equal(isLaid(moved, moved.mask, atlas), false);
  // Within one of its voxels, even at the rim.
  assert.ok(farthest(register(moved, moved.mask, atlas), to) < 4);
});

test('a brain on the atlas stays there', () => {
  const other = phantom([0.9, 0.6, 1, 0.3]);
  assert.equal(isLaid(other, other.mask, atlas), true);
});
