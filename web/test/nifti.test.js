/** Files of strangers: what is read, and what is said of the rest. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../docs/try/errors.js';
import { maskFile, packed, readScan, writeNifti } from '../../docs/try/nifti.js';

const GRID = { shape: [5, 6, 7], affine: [-2, 0, 0, 90, 0, 2, 0, -126, 0, 0, 3, -72, 0, 0, 0, 1] };
const DATA = Float32Array.from({ length: 210 }, (_, i) => i / 7);

const file = change => {
  const bytes = writeNifti(DATA, GRID);
  change?.(new DataView(bytes.buffer), bytes);
  return new Blob([bytes]);
};
const fails = (blob, words) => assert.rejects(readScan(blob), error => {
  assert.ok(error instanceof InputError, error.stack);
  assert.match(error.message, words);
  return true;
});

test('what is written is read, packed and unpacked', async () => {
  for (const blob of [file(), await packed(writeNifti(DATA, GRID))]) {
    const scan = await readScan(blob);
    assert.deepEqual(scan.shape, GRID.shape);
    assert.deepEqual(scan.affine, GRID.affine);
    assert.deepEqual([...scan.data], [...DATA]);
    assert.ok(scan.header.sidesKnown);
  }
});

test('a mask has the header of its scan', async () => {
  const scan = await readScan(file(view => view.setInt16(252, 1, true)));
  const mask = await readScan(await maskFile(new Uint8Array(210).fill(1), scan));
  assert.deepEqual(mask.affine, GRID.affine);
  assert.deepEqual([...mask.header.bytes.subarray(252, 328)], [...scan.header.bytes.subarray(252, 328)]);
  assert.equal(mask.header.datatype, 2);
});

test('odd headers', async () => {
  const scaled = await readScan(file(view => {
    view.setFloat32(112, 2, true);
    view.setFloat32(116, NaN, true);
  }));
  assert.equal(scaled.data[7], 2);
  const metres = await readScan(file(view => {
    view.setUint8(123, 1);
    for (let i = 0; i < 12; i++) view.setFloat32(280 + 4 * i, GRID.affine[i] / 1000, true);
  }));
  metres.affine.forEach((value, i) => assert.ok(Math.abs(value - GRID.affine[i]) < 1e-3));
  const lost = await readScan(file(view => view.setFloat32(352 + 4 * 9, Infinity, true)));
  assert.deepEqual(lost.lost, [9]);
  const blind = await readScan(file(view => view.setInt16(254, 0, true)));
  assert.equal(blind.header.sidesKnown, false);
  const trailing = await readScan(file(view => {
    view.setInt16(40, 5, true);
    view.setInt16(48, 1, true);
  }));
  assert.deepEqual(trailing.shape, GRID.shape);
});

test('what cannot be read is said in one line', async () => {
  await fails(new Blob(['hello']), /Truncated/);
  await fails(new Blob([new Uint8Array(1000).fill(7)]), /Not a NIfTI file/);
  await fails(new Blob([await file().slice(0, 800).arrayBuffer()]), /Truncated/);
  await fails(file((_, bytes) => bytes.set([0x6e, 0x69], 344)), /in another file/);
  await fails(file(view => view.setInt16(70, 128, true)), /coloured/);
  await fails(file(view => view.setInt16(70, 32, true)), /complex/);
  await fails(file(view => view.setInt16(70, 99, true)), /unknown type/);
  await fails(file(view => view.setInt16(46, 1, true)), /no volume of a head/);
  await fails(file(view => view.setInt16(42, -3, true)), /claims/);
  await fails(file(view => view.setInt16(40, 9, true)), /9 axes/);
  await fails(file(view => view.setInt16(40, 2, true)), /2D/);
  await fails(file(view => {
    view.setInt16(40, 4, true);
    view.setInt16(48, 3, true);
  }), /series of volumes/);
  await fails(file(view => [42, 44, 46].forEach(at => view.setInt16(at, 30_000, true))), /too many/);
  await fails(file(view => {
    view.setInt16(254, 0, true);
    view.setFloat32(80, 0, true);
  }), /size of a voxel/);
  const whole = new Uint8Array(await (await packed(writeNifti(DATA, GRID))).arrayBuffer());
  await fails(new Blob([whole.subarray(0, 200)]), /Damaged|Truncated/);
  whole.fill(255, 60, 200);
  await fails(new Blob([whole]), /Damaged/);
});

test('a header that claims more than the file holds takes no memory', async () => {
  const claim = new Blob([writeNifti(DATA, GRID)]);
  const bytes = new Uint8Array(await claim.arrayBuffer());
  [42, 44, 46].forEach(at => new DataView(bytes.buffer).setInt16(at, 400, true));
  const before = process.memoryUsage().arrayBuffers;
  await fails(new Blob([bytes]), /Truncated/);
  assert.ok(process.memoryUsage().arrayBuffers - before < 50e6);
});
