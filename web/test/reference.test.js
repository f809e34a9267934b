/**
 * Agreement with nibabel and with the Python of brainuad, on files of `tests/browser/test_modules.py`.
 */
import assert from 'node:assert/strict';
import { openAsBlob, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { findBrain } from '../../docs/try/brain.js';
import { onPreparedGrid } from '../../docs/try/detect.js';
import { maskFile, readScan } from '../../docs/try/nifti.js';
import { lay } from '../../docs/try/resample.js';

const folder = process.env.BRAINUAD_REFERENCE;
const skip = folder ? false : 'run by pytest tests/browser/test_modules.py';
const at = name => path.join(folder, name);
const json = name => JSON.parse(readFileSync(at(name), 'utf8'));
const floats = name => {
  const bytes = readFileSync(at(name));
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
};

function close(found, expected, most, what) {
  assert.equal(found.length, expected.length, what);
  let worst = 0;
  for (let i = 0; i < found.length; i++) worst = Math.max(worst, Math.abs(found[i] - expected[i]));
  assert.ok(worst <= most, `${what}: ${worst} > ${most}`);
}

test('files are read as nibabel reads them', { skip }, async () => {
  for (const { file, shape, affine, sides } of json('files.json')) {
    const scan = await readScan(await openAsBlob(at(file)));
    assert.deepEqual(scan.shape, shape, file);
    close(scan.affine, affine, 1e-3, `affine of ${file}`);
    close(scan.data, floats(`${file}.f32`), 1e-3, `voxels of ${file}`);
    assert.equal(scan.header.sidesKnown, sides, file);
  }
});

test('a mask that is written has the place of its scan', { skip }, async () => {
  for (const { file } of json('files.json')) {
    const scan = await readScan(await openAsBlob(at(file)));
    const mask = Uint8Array.from(scan.data, (_, i) => i % 2);
    writeFileSync(at(`${file}_mask.nii.gz`), Buffer.from(await (await maskFile(mask, scan)).arrayBuffer()));
  }
});

test('volumes are resampled as brainuad resamples them', { skip }, async () => {
  for (const { file, grid, prepared } of json('laid.json')) {
    const scan = await readScan(await openAsBlob(at(file)));
    close(lay(scan, grid), floats(`${file}.laid.f32`), 1e-4, file);
    const mask = Uint8Array.from(scan.data, value => (value > 0.3 ? 1 : 0));
    const { volume, mask: inside } = onPreparedGrid(scan, prepared, mask, grid);
    close(volume.data, floats(`${file}.prepared.f32`), 1e-4, `${file} prepared`);
    close(inside, floats(`${file}.inside.f32`), 0, `${file} brain`);
  }
});

test('a brain is found as brainuad finds it', { skip }, async () => {
  const scan = await readScan(await openAsBlob(at('brain.nii.gz')));
  const { mask, warnings } = findBrain(scan);
  close(mask, floats('brain.f32'), 0, 'brain');
  assert.deepEqual(warnings, []);
  const refused = async (name, words) => {
    const other = await readScan(await openAsBlob(at(name)));
    assert.throws(() => findBrain(other), words);
  };
  await refused('head.nii.gz', /skull.*brainuad-prepare/s);
  await refused('z_score.nii.gz', /below 0/);
  await refused('labels.nii.gz', /label map/);
  await refused('small.nii.gz', /ml are not empty/);
});
