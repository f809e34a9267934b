/** Reading NIfTI files of strangers, and writing maps and masks on their grids. */
import { spacing } from './affine.js';
import { InputError } from './errors.js';
import { parseHeader, READERS } from './header.js';
import { count } from './volume.js';

/** Largest number of voxels that is read; float32 copies of them have to fit into memory. */
const MOST_VOXELS = 80e6;

/** Largest file in bytes. */
const MOST_BYTES = 2e9;

/**
 * @typedef {object} Scan
 * @property {Float32Array} data
 * @property {number[]} shape Three numbers.
 * @property {import('./affine.js').Affine} affine
 * @property {import('./header.js').Header} header
 * @property {number[]} lost Voxels that are not finite; they are 0 in `data`.
 */

/**
 * Read one 3D scan.
 * @param {Blob} file `.nii` or `.nii.gz`.
 * @returns {Promise<Scan>}
 * @throws {InputError} It is no NIfTI file, damaged, too large, not grey or not 3D.
 */
export async function readScan(file) {
  const { header, voxels } = await readNifti(file, requireVolume);
  const { data, lost } = asFloat(header, voxels);
  return { data, shape: header.shape, affine: header.affine, header, lost };
}

/** Refuse what is not one volume of a head. */
function requireVolume({ shape }) {
  const size = shape.join(' × ');
  if (shape.length > 3) {
    throw new InputError(`A series of volumes (${size}), not one scan. Split it and choose one.`);
  }
  if (Math.min(...shape) < 4) throw new InputError(`${size} voxels are no volume of a head.`);
}

/**
 * Read header and stored bytes of a NIfTI file.
 * @param {Blob} file
 * @param {(header: import('./header.js').Header) => void} check Called before voxels are read.
 * @returns {Promise<{header: import('./header.js').Header, voxels: DataView}>}
 */
export async function readNifti(file, check = () => {}) {
  if (file.size > MOST_BYTES) throw new InputError('Larger than 2 GB. Crop or resample it first.');
  const bytes = await unpacked(file);
  const first = await bytes.take(544, 348);
  const header = parseHeader(first);
  check(header);
  const voxels = count(header.shape);
  if (voxels > MOST_VOXELS) {
    const millions = Math.round(voxels / 1e6);
    throw new InputError(`${millions} million voxels are too many for a browser. Resample it first.`);
  }
  const size = READERS[header.datatype][1];
  const end = header.offset + voxels * size;
  const all = await bytes.take(end, end);
  return { header, voxels: new DataView(all.buffer, all.byteOffset + header.offset, voxels * size) };
}

/**
 * The voxels as float32, scaled as the header says.
 * @param {import('./header.js').Header} header
 * @param {DataView} voxels
 * @returns {{data: Float32Array, lost: number[]}}
 */
export function asFloat(header, voxels) {
  const [read, size, Kind] = READERS[header.datatype];
  const length = voxels.byteLength / size;
  const { slope, inter, little } = header;
  const data = new Float32Array(length);
  const lost = [];
  const at = voxels.byteOffset;
  const native = little && at % size === 0 ? new Kind(voxels.buffer, at, length) : null;
  for (let i = 0; i < length; i++) {
    const value = slope * Number(native ? native[i] : voxels[read](i * size, little)) + inter;
    if (Math.abs(value) <= 3.4e38) data[i] = value;
    else lost.push(i);
  }
  return { data, lost };
}

/**
 * A NIfTI-1 file on the grid of a scan.
 * @param {Float32Array | Uint8Array} data
 * @param {import('./volume.js').Grid} grid
 * @returns {Uint8Array} Its bytes, unpacked.
 */
export function writeNifti(data, { shape, affine }) {
  const bytes = new Uint8Array(352 + data.byteLength);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, 348, true);
  [3, ...shape, 1, 1, 1, 1].forEach((n, i) => view.setInt16(40 + 2 * i, n, true));
  const isMask = data instanceof Uint8Array;
  view.setInt16(70, isMask ? 2 : 16, true);
  view.setInt16(72, isMask ? 8 : 32, true);
  [1, ...spacing(affine), 0, 0, 0, 0].forEach((mm, i) => view.setFloat32(76 + 4 * i, mm, true));
  view.setFloat32(108, 352, true);
  view.setFloat32(112, 1, true);
  view.setUint8(123, 2);
  view.setInt16(254, 2, true);
  affine.slice(0, 12).forEach((value, i) => view.setFloat32(280 + 4 * i, value, true));
  bytes.set([0x6e, 0x2b, 0x31], 344);
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 352);
  return bytes;
}

/**
 * A mask as a file with the place of the scan as its own header has it: sform, qform and codes.
 * @param {Uint8Array} mask
 * @param {import('./volume.js').Grid & {header: import('./header.js').Header}} scan
 * @returns {Promise<Blob>} A `.nii.gz`.
 */
export async function maskFile(mask, scan) {
  const bytes = writeNifti(mask, scan);
  const { header } = scan;
  if (header && header.bytes.length === 348 && header.little) {
    // pixdim, units, and what stands from the code of the qform to the last row of the sform.
    for (const [start, end] of [[76, 92], [123, 124], [252, 328]]) {
      bytes.set(header.bytes.subarray(start, end), start);
    }
  }
  return packed(bytes);
}

/**
 * Bytes as gzip.
 * @param {Uint8Array} bytes
 * @returns {Promise<Blob>}
 */
export function packed(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream('gzip'));
  return new Response(stream).blob();
}

/** The bytes of a file, unpacked as far as they are taken. */
async function unpacked(file) {
  const start = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  const isPacked = start[0] === 0x1f && start[1] === 0x8b;
  const whole = file.stream();
  const stream = isPacked ? whole.pipeThrough(new DecompressionStream('gzip')) : whole;
  return new Bytes(stream.getReader());
}

/** A stream of which no more is held than is asked for. */
class Bytes {
  constructor(reader) {
    this.reader = reader;
    this.chunks = [];
    this.length = 0;
  }

  /**
   * The first bytes.
   * @param {number} most
   * @param {number} least Fewer are an error.
   * @returns {Promise<Uint8Array>}
   */
  async take(most, least) {
    while (this.length < most) {
      let step;
      try {
        step = await this.reader.read();
      } catch {
        throw new InputError('Damaged (it cannot be unpacked). Copy or export it again.');
      }
      if (step.done) break;
      this.chunks.push(step.value);
      this.length += step.value.length;
    }
    if (this.length < least) throw new InputError('Truncated. Copy or export it again.');
    const found = new Uint8Array(Math.min(most, this.length));
    let at = 0;
    for (const chunk of this.chunks) {
      const part = chunk.subarray(0, found.length - at);
      found.set(part, at);
      at += part.length;
      if (at === found.length) break;
    }
    return found;
  }
}
