/** Headers of NIfTI files, whose fields may be broken. */
import { determinant, multiply, spacing } from './affine.js';
import { InputError } from './errors.js';

/** Longest edge of a head in mm. */
const HEAD_MM = [5, 2000];

/** How voxels of each type are read: method of a DataView, bytes, array. */
export const READERS = {
  2: ['getUint8', 1, Uint8Array], 4: ['getInt16', 2, Int16Array], 8: ['getInt32', 4, Int32Array],
  16: ['getFloat32', 4, Float32Array], 64: ['getFloat64', 8, Float64Array],
  256: ['getInt8', 1, Int8Array], 512: ['getUint16', 2, Uint16Array],
  768: ['getUint32', 4, Uint32Array], 1024: ['getBigInt64', 8, BigInt64Array],
  1280: ['getBigUint64', 8, BigUint64Array],
};

const COLOURS = { 32: 'complex', 128: 'coloured', 1792: 'complex', 2304: 'coloured' };

/**
 * @typedef {object} Header
 * @property {number[]} shape All axes, without trailing ones of length one.
 * @property {number} datatype
 * @property {number} offset First byte of the voxels.
 * @property {number} slope
 * @property {number} inter
 * @property {import('./affine.js').Affine} affine
 * @property {boolean} little Byte order.
 * @property {boolean} sidesKnown Whether the header distinguishes left and right.
 * @property {Uint8Array} bytes The header itself.
 */

/**
 * Read the header of NIfTI-1 or NIfTI-2.
 * @param {Uint8Array} bytes The first 544 bytes, or all.
 * @returns {Header}
 */
export function parseHeader(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [size, swapped] = [true, false].map(little => view.getInt32(0, little));
  const little = size === 348 || size === 540;
  const second = [size, swapped].includes(540);
  if (!second && size !== 348 && swapped !== 348) throw notNifti('its first bytes are no header');
  const magic = String.fromCharCode(...bytes.subarray(second ? 4 : 344, second ? 7 : 347));
  if (magic === 'ni1' || magic === 'ni2') {
    throw new InputError('Its voxels are in another file. Convert the pair to one .nii.gz.');
  }
  if (magic !== 'n+1' && magic !== 'n+2') throw notNifti('its magic string is missing');
  if (second && bytes.length < 540) throw new InputError('Truncated. Copy or export it again.');
  const at = second ? fields2(view, little) : fields1(view, little);
  return { ...described(at), little, bytes: bytes.slice(0, second ? 540 : 348) };
}

const notNifti = why => new InputError(`Not a NIfTI file (${why}). Convert it first.`);

function fields1(view, little) {
  const short = at => view.getInt16(at, little);
  const float = at => view.getFloat32(at, little);
  const floats = (at, n) => Array.from({ length: n }, (_, i) => float(at + 4 * i));
  return {
    dim: Array.from({ length: 8 }, (_, i) => short(40 + 2 * i)), datatype: short(70),
    pixdim: floats(76, 8), offset: float(108), slope: float(112), inter: float(116),
    units: view.getUint8(123), codes: [short(252), short(254)], quaternion: floats(256, 6),
    rows: floats(280, 12), least: 348,
  };
}

function fields2(view, little) {
  const long = at => Number(view.getBigInt64(at, little));
  const double = at => view.getFloat64(at, little);
  const doubles = (at, n) => Array.from({ length: n }, (_, i) => double(at + 8 * i));
  return {
    dim: Array.from({ length: 8 }, (_, i) => long(16 + 8 * i)), datatype: view.getInt16(12, little),
    pixdim: doubles(104, 8), offset: long(168), slope: double(176), inter: double(184),
    units: view.getInt32(500, little),
    codes: [view.getInt32(344, little), view.getInt32(348, little)],
    quaternion: doubles(352, 6), rows: doubles(400, 12), least: 540,
  };
}

/** What the fields say, checked. */
function described({ dim, datatype, offset, slope, inter, least, ...place }) {
  if (datatype in COLOURS) throw new InputError(`Its voxels are ${COLOURS[datatype]}, not grey.`);
  if (!(datatype in READERS)) throw new InputError(`Voxels of an unknown type (${datatype}).`);
  if (dim[0] < 1 || dim[0] > 7) throw new InputError(`Its header claims ${dim[0]} axes.`);
  const shape = dim.slice(1, dim[0] + 1);
  while (shape.length > 3 && shape.at(-1) <= 1) shape.pop();
  if (shape.length < 3) throw new InputError('A 2D image, not a volume of a head.');
  if (shape.some(n => n < 1)) throw new InputError(`Its header claims ${shape.join(' × ')} voxels.`);
  if (!(offset >= least && offset < 2 ** 26)) offset = least + 4;
  const scaled = Number.isFinite(slope) && slope !== 0;
  const found = affineOf(place, shape);
  return {
    shape, datatype, offset, ...found, slope: scaled ? slope : 1,
    inter: scaled && Number.isFinite(inter) ? inter : 0,
  };
}

/** The affine by sform, qform or voxel sizes alone, in mm. */
function affineOf({ codes, rows, quaternion, pixdim, units }, shape) {
  const forms = [];
  if (codes[1] > 0) forms.push([...rows, 0, 0, 0, 1]);
  if (codes[0] > 0) forms.push(ofQuaternion(quaternion, pixdim));
  let affine = forms.find(isUsable);
  const sidesKnown = affine !== undefined;
  if (!sidesKnown) {
    // As nibabel has it: the first axis to the left, the origin in the middle.
    const edges = pixdim.slice(1, 4).map(Math.abs);
    affine = [-edges[0], 0, 0, 0, 0, edges[1], 0, 0, 0, 0, edges[2], 0, 0, 0, 0, 1];
    for (let i = 0; i < 3; i++) affine[4 * i + 3] = -affine[5 * i] * (shape[i] - 1) / 2;
    if (!isUsable(affine)) throw new InputError('Its header tells no size of a voxel.');
  }
  const factor = { 1: 1e3, 3: 1e-3 }[units & 7] ?? 1;
  const edge = Math.max(...spacing(affine).map((mm, i) => mm * shape[i]));
  const fits = mm => mm >= HEAD_MM[0] && mm <= HEAD_MM[1];
  if (factor !== 1 && !(fits(edge) && !fits(edge * factor))) {
    affine = multiply([factor, 0, 0, 0, 0, factor, 0, 0, 0, 0, factor, 0, 0, 0, 0, 1], affine);
  }
  return { affine, sidesKnown };
}

/** The qform by the rules of nifti1_io.c. */
function ofQuaternion([b, c, d, x, y, z], pixdim) {
  const length = Math.hypot(b, c, d);
  if (length > 1) [b, c, d] = [b / length, c / length, d / length];
  const a = Math.sqrt(Math.max(0, 1 - b * b - c * c - d * d));
  const [i, j] = [Math.abs(pixdim[1]), Math.abs(pixdim[2])];
  const k = Math.abs(pixdim[3]) * (pixdim[0] < 0 ? -1 : 1);
  return [
    (a * a + b * b - c * c - d * d) * i, 2 * (b * c - a * d) * j, 2 * (b * d + a * c) * k, x,
    2 * (b * c + a * d) * i, (a * a + c * c - b * b - d * d) * j, 2 * (c * d - a * b) * k, y,
    2 * (b * d - a * c) * i, 2 * (c * d + a * b) * j, (a * a + d * d - b * b - c * c) * k, z,
    0, 0, 0, 1,
  ];
}

/** Whether an affine is finite and spans a volume. */
function isUsable(m) {
  if (!m.every(Number.isFinite)) return false;
  const edges = spacing(m);
  if (Math.min(...edges) < 1e-6 || Math.max(...edges) > 1e6) return false;
  return Math.abs(determinant(m)) / (edges[0] * edges[1] * edges[2]) > 1e-3;
}
