/** What names and sets of files say. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sorted } from '../../docs/try/files.js';
import { isMask, named, sequenceOf } from '../../docs/try/names.js';

test('the sequence that a name tells', () => {
  const told = {
    'sub-01_FLAIR.nii.gz': 'FLAIR', 'BraTS-1-t2f.nii.gz': 'FLAIR', 'T2_dark_fluid.nii': 'FLAIR',
    'sub-01_T1w.nii.gz': 'T1w', 'MPRAGE.nii': 'T1w', 'x_t2w.nii.gz': 'T2w', 'T2.nii': 'T2w',
    'BraTS-1-t1c.nii.gz': 'other', 'T1POST.nii.gz': 'other', 'sub_adc.nii.gz': 'other',
    'sub_ct.nii.gz': 'other', 'scan.nii.gz': '', 'act.nii.gz': '', 'PDF.nii': '',
  };
  for (const [name, sequence] of Object.entries(told)) assert.equal(sequenceOf(name), sequence, name);
});

test('names of masks and of results', () => {
  assert.ok(isMask('a_brain_mask.nii.gz') && isMask('FLAIR_brain.nii.gz') && !isMask('a_FLAIR.nii.gz'));
  assert.equal(named('a b<i>.nii.gz', 'mask'), 'a_b_i__mask.nii.gz');
  assert.equal(named('.nii', 'map'), 'scan_map.nii.gz');
});

test('a scan, a scan with its mask, a series', () => {
  const files = (...names) => names.map(name => new File([], name));
  assert.equal(sorted(files('a_FLAIR.nii.gz')).files.length, 1);
  assert.equal(sorted(files('a_FLAIR.nii.gz', 'a_brain.nii.gz')).brain.name, 'a_brain.nii.gz');
  assert.ok(sorted(files('1.dcm', '2.dcm', '.DS_Store')).dicom);
  assert.throws(() => sorted(files('a.nii', 'b.nii')), /one scan/);
  assert.throws(() => sorted(files('a_mask.nii')), /mask alone/);
  assert.throws(() => sorted(files('.DS_Store')), /No file/);
});
