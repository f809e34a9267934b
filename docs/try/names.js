/** What a file's name says of its content. */

const WORDS = [
  ['FLAIR', /flair|t2f|dark.?fluid/],
  ['other', /t1.?(c|ce|gd|gad|post|km)(?![a-z])|mprage.?(gd|km)|dwi|adc|swi|dti|trace|bold|asl(?![a-z])|(^|[^a-z])(pd|ct|pet|mra|tof)(?![a-z])/],
  ['T1w', /t1|mprage|spgr/],
  ['T2w', /t2/],
];

/**
 * The sequence that a name tells.
 * @param {string} name
 * @returns {'FLAIR' | 'T1w' | 'T2w' | 'other' | ''} Empty where it tells none.
 */
export function sequenceOf(name) {
  const lower = name.toLowerCase();
  return WORDS.find(([, words]) => words.test(lower))?.[0] ?? '';
}

/** Whether a name is that of a NIfTI file. @param {string} name */
export const isNifti = name => /\.nii(\.gz)?$/i.test(name);

/** Whether a name is that of a brain mask. @param {string} name */
export const isMask = name => isNifti(name) && /mask|(^|[_-])brain\.nii/i.test(name);

/**
 * The name of a result beside its scan.
 * @param {string} name
 * @param {string} what
 */
export function named(name, what) {
  const stem = name.replace(/\.nii(\.gz)?$/i, '').replace(/[^\w.-]+/g, '_') || 'scan';
  return `${stem}_${what}.nii.gz`;
}
