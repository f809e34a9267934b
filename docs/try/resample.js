/** Resampling between grids by their affines, as `brainuad.volumes.grids.lay` does it. */
import { inverse, multiply, spacing } from './affine.js';
import { count } from './volume.js';

/** FWHM of a box of width w is w; a Gaussian's FWHM is 2.355 standard deviations. */
const FWHM = 2.355;

/** Gaussians end at so many standard deviations, as scipy's. */
const TRUNCATE = 4;

/** Share of a voxel by which rounding may leave the array. */
const ROUNDING = 1e-9;

/**
 * A volume on another grid of its world: smoothed where that is coarser, then linear; 0 outside.
 * @param {import('./volume.js').Volume} volume
 * @param {import('./volume.js').Grid} grid
 * @returns {Float32Array}
 */
export function lay(volume, grid) {
  return linear(smoothed(volume, Math.max(...spacing(grid.affine))), grid);
}

/**
 * A volume blurred to voxels of an edge length, along the axes where its own are shorter.
 * @param {import('./volume.js').Volume} volume
 * @param {number} edge In mm.
 * @returns {import('./volume.js').Volume}
 */
export function smoothed(volume, edge) {
  const own = spacing(volume.affine);
  const sigmas = own.map(mm => Math.sqrt(Math.max(edge * edge - mm * mm, 0)) / FWHM / mm);
  return { ...volume, data: gaussian(volume.data, volume.shape, sigmas) };
}

/**
 * A Gaussian filter; beyond the array's edges its last voxels go on.
 * @param {Float32Array} data
 * @param {number[]} shape
 * @param {number[]} sigmas Standard deviations in voxels; 0 leaves an axis as it is.
 * @returns {Float32Array}
 */
export function gaussian(data, shape, sigmas) {
  let found = data;
  let stride = 1;
  for (let axis = 0; axis < 3; axis++) {
    if (sigmas[axis] > 1e-15) found = along(found, shape[axis], stride, weights(sigmas[axis]));
    stride *= shape[axis];
  }
  return found;
}

function weights(sigma) {
  const radius = Math.floor(TRUNCATE * sigma + 0.5);
  const found = Float64Array.from({ length: 2 * radius + 1 }, (_, i) => (
    Math.exp(-0.5 * ((i - radius) / sigma) ** 2)
  ));
  const sum = found.reduce((a, b) => a + b, 0);
  return found.map(value => value / sum);
}

/** One axis of a filter: lines of `n` voxels that lie `stride` apart. */
function along(data, n, stride, kernel) {
  const out = new Float32Array(data.length);
  const radius = (kernel.length - 1) / 2;
  const padded = new Float64Array(n + 2 * radius);
  for (let block = 0; block < data.length; block += n * stride) {
    for (let start = block; start < block + stride; start++) {
      for (let i = 0; i < padded.length; i++) {
        padded[i] = data[start + stride * Math.min(Math.max(i - radius, 0), n - 1)];
      }
      for (let i = 0, at = start; i < n; i++, at += stride) {
        let sum = 0;
        for (let k = 0; k < kernel.length; k++) sum += kernel[k] * padded[i + k];
        out[at] = sum;
      }
    }
  }
  return out;
}

/**
 * Linear interpolation on a grid; 0 outside the volume.
 * @param {import('./volume.js').Volume} volume
 * @param {import('./volume.js').Grid} grid
 * @returns {Float32Array}
 */
export function linear(volume, grid) {
  const out = new Float32Array(count(grid.shape));
  const { data, shape: [nx, ny, nz] } = volume;
  const slice = nx * ny;
  sampled(volume, grid, (x, y, z, at) => {
    const i = Math.min(x | 0, nx - 2);
    const j = Math.min(y | 0, ny - 2);
    const k = Math.min(z | 0, nz - 2);
    const [fx, fy, fz] = [x - i, y - j, z - k];
    const o = i + nx * j + slice * k;
    const p = o + slice;
    const a = data[o] + fx * (data[o + 1] - data[o]);
    const b = data[o + nx] + fx * (data[o + nx + 1] - data[o + nx]);
    const c = data[p] + fx * (data[p + 1] - data[p]);
    const d = data[p + nx] + fx * (data[p + nx + 1] - data[p + nx]);
    const near = a + fy * (b - a);
    out[at] = near + fz * (c + fy * (d - c) - near);
  });
  return out;
}

/**
 * A mask on a grid by the nearest voxel; 0 outside the volume.
 * @param {{data: Uint8Array, shape: number[], affine: number[]}} mask
 * @param {import('./volume.js').Grid} grid
 * @returns {Uint8Array}
 */
export function nearest(mask, grid) {
  const out = new Uint8Array(count(grid.shape));
  const [nx, ny] = mask.shape;
  sampled(mask, grid, (x, y, z, at) => {
    out[at] = mask.data[Math.round(x) + nx * (Math.round(y) + ny * Math.round(z))];
  });
  return out;
}

/** Visits the voxels of a grid that lie in a volume, with their places in its voxels. */
function sampled(volume, grid, visit) {
  const m = multiply(inverse(volume.affine), grid.affine);
  const [nx, ny, nz] = grid.shape;
  const [mx, my, mz] = volume.shape.map(n => n - 1);
  for (let z = 0, at = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) {
      const x0 = m[1] * y + m[2] * z + m[3];
      const y0 = m[5] * y + m[6] * z + m[7];
      const z0 = m[9] * y + m[10] * z + m[11];
      for (let x = 0; x < nx; x++, at++) {
        const px = m[0] * x + x0;
        const py = m[4] * x + y0;
        const pz = m[8] * x + z0;
        if (
          px >= -ROUNDING && px <= mx + ROUNDING && py >= -ROUNDING && py <= my + ROUNDING
          && pz >= -ROUNDING && pz <= mz + ROUNDING
        ) visit(clamped(px, mx), clamped(py, my), clamped(pz, mz), at);
      }
    }
  }
}

const clamped = (value, most) => Math.min(Math.max(value, 0), most);
