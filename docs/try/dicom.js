/** A DICOM series to NIfTI, by dcm2niix. */
import { InputError } from './errors.js';

/**
 * Convert the files of one series.
 * @param {File[]} files
 * @param {string} folder Address of the folder with dcm2niix.
 * @returns {Promise<Blob>} A `.nii`.
 * @throws {InputError} No series, or several.
 */
export async function toNifti(files, folder) {
  const { default: start } = await import(`${folder}dcm2niix.jpeg.js`);
  const quiet = () => {};
  const { FS, callMain } = await start({ print: quiet, printErr: quiet });
  FS.mkdir('/in');
  FS.mkdir('/out');
  for (const [number, file] of files.entries()) {
    // Names are a stranger's; a number will do.
    FS.createDataFile('/in', `${number}.dcm`, new Uint8Array(await file.arrayBuffer()), true, true);
  }
  callMain(['-o', '/out', '-f', '%s', '-b', 'n', '-z', 'n', '-m', 'y', '/in']);
  const names = FS.readdir('/out').filter(name => name.endsWith('.nii'));
  if (!names.length) throw new InputError('Neither NIfTI nor a DICOM series.');
  if (names.length > 1) {
    throw new InputError(`${names.length} DICOM series. Choose the folder of one.`);
  }
  return new Blob([FS.readFile(`/out/${names[0]}`)]);
}
