/** A scan to its map, step by step; in a worker of the page, and in tests without a browser. */
import { apart, inverse, multiply } from './affine.js';
import { findBrain } from './brain.js';
import { detect, onModelGrid, onPreparedGrid } from './detect.js';
import { InputError } from './errors.js';
import { asFloat, readNifti, readScan } from './nifti.js';
import { isLaid, register } from './register.js';
import { linear, nearest } from './resample.js';
import { count, total } from './volume.js';

/** Largest difference of two affines of one grid, in mm. */
const SAME = 0.01;

/** Smallest Dice with the atlas's brain of a brain that was registered well. */
const OVERLAP = 0.85;

/**
 * @typedef {object} Found
 * @property {import('./volume.js').Volume} scan
 * @property {Float32Array} map Probability of a lesion on the grid of the scan.
 * @property {Uint8Array} brain
 * @property {string[]} warnings
 * @property {object} model Its entry in `models.json`.
 */

export class Engine {
  /**
   * @param {object} ort onnxruntime-web.
   * @param {(name: string) => Promise<Blob>} read Reads a file of the folder `assets`.
   */
  constructor(ort, read) {
    Object.assign(this, { ort, read, sessions: {} });
  }

  /**
   * The map of a scan.
   * @param {Blob} file
   * @param {string} sequence A name in `models.json`.
   * @param {object} [more]
   * @param {(step: string) => void} [more.say] Called with the name of each step as it begins.
   * @param {Blob} [more.brain] A brain mask on the grid of the scan.
   * @returns {Promise<Found>}
   * @throws {InputError} The scan cannot be read, or is none that the model takes.
   */
  async detect(file, sequence, { say = () => {}, brain } = {}) {
    say('read');
    const scan = await readScan(file);
    say('brain');
    const { mask, warnings } = brain ? await readBrain(brain, scan) : findBrain(scan);
    if (!scan.header.sidesKnown) {
      warnings.push('The header has no orientation. Left and right are a guess.');
    }
    requireWhole(scan, mask);
    say('model');
    const atlas = await this.atlas();
    const model = (await this.about()).models[sequence];
    const network = await this.network(model);
    say('look');
    const laid = onModelGrid(scan, mask, atlas);
    if (laid && isLaid(scan, mask, atlas)) {
      say('detect');
      const map = await detect(scan, mask, laid, atlas, network);
      return { scan, map, brain: mask, warnings, model };
    }
    say('register');
    const matrix = register(scan, mask, atlas);
    warnings.push(
      'It does not lie on the MNI152 atlas and was registered here. Its bias field was not corrected.',
    );
    say('place');
    const found = await this.registered(scan, mask, matrix, network, { say, warnings });
    return { scan, ...found, warnings, model };
  }

  /** Map and brain of a scan by a registration, the transform from the atlas's world to its own. */
  async registered(scan, mask, matrix, network, { say, warnings }) {
    const [atlas, { prepared: grid }] = [await this.atlas(), await this.about()];
    const moved = { ...scan, affine: multiply(inverse(matrix), scan.affine) };
    const prepared = onPreparedGrid(scan, moved.affine, mask, grid);
    const laid = onModelGrid(prepared.volume, prepared.mask, atlas);
    if (!laid) throw new InputError('The brain could not be registered to the atlas.');
    if (laid.overlap < OVERLAP) {
      const share = laid.overlap.toFixed(2);
      warnings.push(`It fits the atlas poorly (overlap ${share}). Prepare it with brainuad-prepare.`);
    }
    say('detect');
    const data = await detect(prepared.volume, prepared.mask, laid, atlas, network);
    return back({ ...grid, data }, prepared.mask, moved);
  }

  /** What the models need: `models.json`. */
  async about() {
    this.known ??= JSON.parse(await (await this.read('models.json')).text());
    return this.known;
  }

  /** @returns {Promise<import('./detect.js').Atlas>} */
  async atlas() {
    this.laid ??= await readAtlas(await this.read('atlas.nii.gz'));
    return this.laid;
  }

  /** A function that runs the network of a model. */
  async network({ file }) {
    this.sessions[file] ??= await this.session(file);
    const { shape } = await this.atlas();
    const dims = [1, 1, ...shape];
    return async (image, inside) => {
      const found = await this.sessions[file].run({
        image: new this.ort.Tensor('float32', image, dims),
        brain_mask: new this.ort.Tensor('bool', inside, dims),
      }, ['anomaly_map']);
      return found.anomaly_map.data;
    };
  }

  async session(file) {
    const bytes = new Uint8Array(await (await this.read(file)).arrayBuffer());
    return this.ort.InferenceSession.create(bytes, { executionProviders: ['wasm'] });
  }
}

/** Map and brain on a prepared grid, on the grid of the scan. */
function back(map, mask, scan) {
  const brain = nearest({ ...map, data: mask }, scan);
  const data = linear(map, scan);
  for (let at = 0; at < data.length; at++) if (!brain[at]) data[at] = 0;
  return { map: data, brain };
}

/** The brain of a scan by a mask of its own. */
async function readBrain(file, scan) {
  const { data, shape, affine } = await readScan(file);
  if (shape.some((n, axis) => n !== scan.shape[axis]) || apart(affine, scan.affine) > SAME) {
    throw new InputError('The brain mask lies on another grid than its scan.');
  }
  const mask = new Uint8Array(data.length);
  for (let at = 0; at < mask.length; at++) mask[at] = data[at] > 0 ? 1 : 0;
  if (!total(mask)) throw new InputError('The brain mask is empty.');
  return { mask, warnings: [] };
}

/** Voxels that are not finite were set to 0; in the brain they are an error. */
function requireWhole(scan, mask) {
  const inside = scan.lost.filter(at => mask[at]).length;
  if (inside) throw new InputError(`${inside} voxels of the brain are no numbers. Replace them first.`);
}

async function readAtlas(file) {
  const { header, voxels } = await readNifti(file);
  const { data } = asFloat(header, voxels);
  const shape = header.shape.slice(0, 3);
  const size = count(shape);
  const [brain, t1] = [0, 1].map(i => data.subarray(i * size, (i + 1) * size));
  const inside = new Uint8Array(size);
  for (let at = 0; at < size; at++) inside[at] = brain[at] > 0.5 ? 1 : 0;
  return { shape, affine: header.affine, brain, inside, t1 };
}
