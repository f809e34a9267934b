/** The worker: everything that takes time, away from the page's own thread. */
import * as ort from './assets/ort.wasm.bundle.min.mjs';
import { toNifti } from './dicom.js';
import { Engine } from './engine.js';
import { InputError } from './errors.js';
import { marked } from './findings.js';
import { maskFile, packed, writeNifti } from './nifti.js';
import { surface } from './regions.js';

// Threads need a page that its server isolates from others, which a plain one does not.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: asset('ort-wasm-simd-threaded.wasm') };
ort.env.logLevel = 'error';

const engine = new Engine(ort, async name => {
  const answer = await fetch(asset(name));
  if (!answer.ok) throw new InputError(`The page is incomplete: assets/${name} is missing. Run make try.`);
  return answer.blob();
});
let found = null;

function asset(name) {
  return new URL(`assets/${name}`, import.meta.url).href;
}

/** Answers by the kind of the question; each returns what is posted, and what moves with it. */
const answers = {
  /** A scan: read, scored, marked. */
  async scan({ files, brain, sequence, dicom }) {
    const said = step => self.postMessage({ kind: 'step', step });
    if (dicom) said('convert');
    const file = dicom ? await toNifti(files, asset('')) : files[0];
    found = null;
    found = await engine.detect(file, sequence, { say: said, brain });
    said('mark');
    const { scan, map, warnings, model } = found;
    const views = [writeNifti(scan.data, scan).buffer, writeNifti(map, scan).buffer];
    const about = { warnings, threshold: model.threshold, shape: scan.shape, affine: scan.affine };
    const own = mark(model.threshold);
    return [{ ...about, scan: views[0], map: views[1], ...own }, [...views, own.outline]];
  },

  /** Another threshold for the same scan. */
  mark({ threshold }) {
    const own = mark(threshold);
    return [own, [own.outline]];
  },

  /** A file to keep: the mask at a threshold, or the map. */
  async file({ what, threshold }) {
    const { scan, map } = found;
    if (what === 'map') return [{ blob: await packed(writeNifti(map, scan)) }, []];
    return [{ blob: await maskFile(marks(threshold).mask, scan) }, []];
  },
};

function marks(threshold) {
  return marked(found.map, found.scan, threshold, found.model.smallest_mm3);
}

function mark(threshold) {
  const { mask, findings } = marks(threshold);
  return { findings, outline: writeNifti(surface(mask, found.scan.shape), found.scan).buffer };
}

self.onmessage = async ({ data: { id, kind, ...asked } }) => {
  try {
    const [answer, moved] = await answers[kind](asked);
    self.postMessage({ id, kind: 'done', answer }, moved);
  } catch (error) {
    const expected = error instanceof InputError;
    if (!expected) console.error(error);
    const message = expected ? error.message : `It failed (${error.message ?? error}).`;
    self.postMessage({ id, kind: 'failed', message });
  }
};
self.postMessage({ kind: 'ready' });
