/** Files that were dropped or chosen. */
import { InputError } from './errors.js';
import { isMask, isNifti } from './names.js';

/** Largest number of files of a series. */
const MOST_FILES = 5000;

/**
 * The files of a drop, those in folders too.
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
export async function dropped(transfer) {
  // To be asked for at once: the list is empty after the first pause.
  const entries = [...transfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
  const plain = [...transfer.files];
  const found = (await Promise.all(entries.map(inside))).flat();
  return found.length ? found : plain;
}

async function inside(entry) {
  if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
  const reader = entry.createReader();
  const all = [];
  // A folder is listed in parts.
  for (;;) {
    const part = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!part.length) break;
    for (const child of part) all.push(...await inside(child));
    if (all.length > MOST_FILES) throw new InputError(`More than ${MOST_FILES} files. Choose one series.`);
  }
  return all;
}

/**
 * What was chosen: a NIfTI file, with or without its brain mask, or a DICOM series.
 * @param {File[]} files
 * @returns {{files: File[], brain?: File, dicom: boolean, name: string}}
 * @throws {InputError} Several scans, or nothing.
 */
export function sorted(files) {
  const seen = files.filter(file => !file.name.startsWith('.'));
  const nifti = seen.filter(file => isNifti(file.name));
  if (!seen.length) throw new InputError('No file was chosen.');
  if (!nifti.length) {
    const folder = seen[0].webkitRelativePath?.split('/')[0];
    return { files: seen, dicom: true, name: folder || 'dicom' };
  }
  const masks = nifti.filter(file => isMask(file.name));
  const scans = nifti.filter(file => !masks.includes(file));
  if (scans.length > 1 || masks.length > 1) {
    throw new InputError(`${nifti.length} NIfTI files. Choose one scan, with or without its brain mask.`);
  }
  if (!scans.length) throw new InputError('A mask alone. Choose the scan, too.');
  return { files: scans, brain: masks[0], dicom: false, name: scans[0].name };
}
