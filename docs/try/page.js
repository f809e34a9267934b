/** The page: what is chosen, what is shown, what the controls do. */
import { spacing } from './affine.js';
import { dropped, sorted } from './files.js';
import { named, sequenceOf } from './names.js';
import { Remote } from './remote.js';
import { Viewer } from './viewer.js';

const STEPS = {
  convert: 'Reading the DICOM series', read: 'Reading the scan', brain: 'Looking for the brain',
  model: 'Loading the model', look: 'Comparing with the atlas',
  register: 'Registering to the atlas', place: 'Resampling to 2 mm', detect: 'Running the model',
  mark: 'Marking', show: 'Drawing',
};
const ORDER = Object.keys(STEPS);
const PRESETS = { low: 'marks less', default: "model's own", high: 'marks more' };

const $ = id => document.getElementById(id);
const remote = new Remote(step);
const viewer = new Viewer($('canvas'), moved);
let open = null;
let waiting = false;

/** Show one of the parts of the page. */
function part(name) {
  for (const id of ['start', 'work', 'result']) $(id).hidden = id !== name;
  document.body.classList.toggle('open', name === 'result');
}

function step(name) {
  $('step').textContent = STEPS[name];
  $('progress').value = ORDER.indexOf(name) / ORDER.length;
}

function trouble(message) {
  $('trouble').textContent = message;
  $('trouble').hidden = !message;
}

/** Score what was chosen, and show it. */
async function run(files) {
  if (waiting) return;
  waiting = true;
  trouble('');
  try {
    const chosen = sorted(files);
    const { sequence, note } = sequenceFor(chosen.name);
    $('reading').textContent = `${chosen.name}, as ${sequence}`;
    part('work');
    const started = performance.now();
    const answer = await remote.ask('scan', { ...chosen, sequence });
    step('show');
    open = { ...answer, name: chosen.name, sequence, warnings: [...note, ...answer.warnings] };
    open.seconds = (performance.now() - started) / 1000;
    await show();
  } catch (error) {
    part('start');
    trouble(`${files[0]?.name ?? 'This'}: ${error.message}`);
  } finally {
    waiting = false;
  }
}

/** The sequence of a scan by its name, or else as chosen. */
function sequenceFor(name) {
  const own = sequenceOf(name);
  const field = document.querySelector('input[name=sequence]:checked');
  if (own === 'other') {
    return {
      sequence: field.value,
      note: [`The name tells of another sequence than FLAIR, T1w and T2w; it was read as ${field.value}.`],
    };
  }
  if (!own || own === field.value) return { sequence: field.value, note: [] };
  document.querySelector(`input[name=sequence][value=${own}]`).checked = true;
  return { sequence: own, note: [`Read as ${own}, which its name tells, not as ${field.value}.`] };
}

async function show() {
  part('result');
  $('title').textContent = open.name;
  $('facts').textContent = `${open.sequence} · ${open.shape.join(' × ')} voxels of `
    + `${spacing(open.affine).map(mm => mm.toFixed(2)).join(' × ')} mm · ${open.seconds.toFixed(1)} s`;
  $('warnings').replaceChildren(...open.warnings.map(line => made('li', line)));
  $('warnings').hidden = !open.warnings.length;
  $('threshold').value = Math.round(100 * open.threshold);
  $('no-pictures').hidden = Viewer.isPossible();
  $('viewer').classList.toggle('plain', !Viewer.isPossible());
  if (Viewer.isPossible()) {
    await viewer.start();
    await viewer.show(open, extent(open));
    viewer.view($('view').value);
    open.drawn = true;
  }
  list();
  draw();
  if (open.findings.length) go(0);
  $('title').focus();
}

/** The extent of a grid in mm along the axes of the body. */
function extent({ shape, affine }) {
  const edges = spacing(affine);
  const sizes = [0, 0, 0];
  for (let axis = 0; axis < 3; axis++) {
    const column = [0, 4, 8].map(row => Math.abs(affine[row + axis]));
    sizes[column.indexOf(Math.max(...column))] = shape[axis] * edges[axis];
  }
  return sizes;
}

function made(kind, text, className = '') {
  const element = document.createElement(kind);
  element.textContent = text;
  element.className = className;
  return element;
}

function list() {
  const rows = open.findings.map(({ volume, peak, mm }, index) => {
    const row = made('tr', '');
    const button = made('button', String(index + 1));
    button.type = 'button';
    button.ariaLabel = `Go to finding ${index + 1}`;
    const first = made('th', '');
    first.scope = 'row';
    first.append(button);
    const place = mm.map(value => value.toFixed(0)).join(', ').replaceAll('-', '−');
    row.append(first, made('td', volume.toFixed(2)), made('td', peak.toFixed(2)), made('td', place));
    row.onclick = () => go(index);
    return row;
  });
  $('findings').tBodies[0].replaceChildren(...rows);
  $('findings').hidden = !rows.length;
  $('no-findings').hidden = rows.length > 0;
  const ml = open.findings.reduce((sum, { volume }) => sum + volume, 0);
  $('marked').textContent = rows.length ? `${rows.length}, ${ml.toFixed(2)} ml` : '';
}

function go(index) {
  if (open.drawn) viewer.go(open.findings[index].mm);
  [...$('findings').tBodies[0].rows].forEach((row, i) => row.classList.toggle('here', i === index));
}

function moved(mm, score) {
  const [x, y, z] = mm.map(value => value.toFixed(1).replace('-', '−'));
  $('position').textContent = `x ${x}, y ${y}, z ${z} mm · probability ${score.toFixed(2)}`;
}

const threshold = () => Number($('threshold').value) / 100;

function draw() {
  $('threshold-value').textContent = threshold().toFixed(2);
  $('opacity-value').textContent = `${$('opacity').value} %`;
  for (const button of $('presets').children) {
    button.ariaPressed = String(Number(button.value) === Number($('threshold').value));
  }
  if (!open?.drawn) return;
  viewer.set({
    threshold: threshold(), opacity: Number($('opacity').value) / 100,
    map: $('show-map').checked, mask: $('show-mask').checked,
  });
}

/** Mark again; while the slider moves, the last place alone counts. */
async function mark() {
  draw();
  if (!open || mark.busy) {
    mark.late = Boolean(open);
    return;
  }
  mark.busy = true;
  do {
    mark.late = false;
    const { findings, outline } = await remote.ask('mark', { threshold: threshold() });
    open.findings = findings;
    if (open.drawn) viewer.outline(outline);
    list();
  } while (mark.late);
  mark.busy = false;
}

async function save(what) {
  const { blob } = await remote.ask('file', { what, threshold: threshold() });
  const link = made('a', '');
  link.href = URL.createObjectURL(blob);
  link.download = named(open.name, what);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function example() {
  const answer = await fetch('assets/example.nii.gz');
  if (!answer.ok) return trouble('The page is incomplete: assets/example.nii.gz is missing. Run make try.');
  return run([new File([await answer.blob()], 'example_FLAIR.nii.gz')]);
}

/** Buttons of the sensitivities that the package has names for. */
async function presets() {
  const answer = await fetch('assets/models.json');
  if (!answer.ok) return trouble('The page is incomplete: its assets are missing. Run make try.');
  const { sensitivity } = await answer.json();
  const buttons = Object.entries(sensitivity).map(([name, value]) => {
    const button = made('button', PRESETS[name] ?? name);
    button.type = 'button';
    button.value = Math.round(100 * value);
    button.onclick = () => { $('threshold').value = button.value; mark(); };
    return button;
  });
  return $('presets').replaceChildren(...buttons);
}

$('file').onchange = $('folder').onchange = ({ target }) => {
  const files = [...target.files];
  target.value = '';
  if (files.length) run(files);
};
$('example').onclick = example;
$('again').onclick = () => { trouble(''); viewer.clear(); open = null; part('start'); };
$('threshold').oninput = mark;
for (const id of ['opacity', 'show-map', 'show-mask']) $(id).oninput = draw;
$('view').oninput = () => { if (open?.drawn) viewer.view($('view').value); };
for (const form of document.forms) form.onsubmit = event => event.preventDefault();
$('save-mask').onclick = () => save('mask');
$('save-map').onclick = () => save('map');
// A file that misses the field would replace the page.
addEventListener('dragover', event => {
  event.preventDefault();
  $('drop').classList.add('over');
});
addEventListener('dragleave', event => { if (!event.relatedTarget) $('drop').classList.remove('over'); });
addEventListener('drop', async event => {
  event.preventDefault();
  $('drop').classList.remove('over');
  try {
    const files = await dropped(event.dataTransfer);
    if (files.length) await run(files);
  } catch (error) {
    trouble(error.message);
  }
});
presets();
