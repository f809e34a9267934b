'use strict';
// The list, the address and the controls. All text goes in as text, never as markup.

const brainuad = (() => {
  const $ = id => document.getElementById(id);
  const items = () => [...$('list').children];
  const link = item => item.querySelector('a');
  const shown = () => items().filter(item => !item.hidden && link(item));
  let scan = null; // the one that is open, without its volumes
  let wanted = null; // its link, while it loads
  let viewer = null;
  let queue = Promise.resolve();

  // ---- the list

  function arrange() {
    const key = $('sort').value;
    const state = $('state').value;
    const word = $('find').value.trim().toLowerCase();
    const rank = { failed: 0, flagged: 1, done: 2 };
    const byNumber = (a, b) => {
      const [x, y] = [a.dataset[key], b.dataset[key]];
      return (x === '') - (y === '') || y - x;
    };
    const byName = (a, b) => a.dataset.name.localeCompare(b.dataset.name, 'en', { numeric: true });
    const order = {
      name: byName,
      status: (a, b) => rank[a.dataset.status] - rank[b.dataset.status],
    }[key] || byNumber;
    $('list').append(...items().sort((a, b) => order(a, b) || byName(a, b)));
    let count = 0;
    for (const item of items()) {
      item.hidden = (state !== '' && item.dataset.status !== state)
        || !item.textContent.toLowerCase().includes(word);
      count += !item.hidden;
    }
    $('count').textContent = `${count} of ${items().length}`;
    neighbours();
  }

  function walk(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const links = shown().map(link);
    const at = links.indexOf(document.activeElement);
    const to = event.key === 'Home' ? 0 : event.key === 'End' ? links.length - 1 : at + step;
    if (at < 0 || !(to in links)) return;
    event.preventDefault();
    links[to].focus();
    links[to].scrollIntoView({ block: 'nearest' });
  }

  function neighbours() {
    const links = shown().map(link);
    const at = links.findIndex(one => one.getAttribute('aria-current'));
    for (const [button, step] of [['previous', -1], ['next', 1]]) {
      const to = at < 0 ? undefined : links[at + step];
      $(button).disabled = !to;
      $(button).onclick = () => { location.hash = to.hash; };
    }
  }

  // ---- opening a scan

  function route() {
    let name = '';
    try { name = decodeURIComponent(location.hash.slice(1)); } catch { /* not one of ours */ }
    const item = name && items().find(one => one.dataset.name === name);
    for (const one of document.querySelectorAll('#list [aria-current]')) {
      one.removeAttribute('aria-current');
    }
    const target = item && link(item);
    document.body.classList.toggle('open', Boolean(target));
    $('scan').hidden = !target;
    wanted = target || null;
    if (!target) {
      scan = null;
      if (viewer) queue = queue.then(() => viewer.clear());
      document.title = $('scans').dataset.title;
      if (item) { item.tabIndex = -1; item.focus(); }
      return;
    }
    item.hidden = false;
    target.setAttribute('aria-current', 'true');
    target.scrollIntoView({ block: 'nearest' });
    neighbours();
    document.title = `${name} – brainuad`;
    $('title').textContent = name;
    $('loading').textContent = 'Loading…';
    $('viewer').classList.add('waiting');
    const script = document.createElement('script');
    script.src = target.dataset.script;
    script.onload = () => script.remove();
    script.onerror = () => {
      script.remove();
      if (wanted === target) fail(`${target.dataset.script} is missing; keep the folder "viewer" beside this page.`);
    };
    document.head.append(script);
  }

  function fail(text) {
    $('loading').textContent = text;
    $('viewer').hidden = true;
  }

  /** Called by the script of a scan with its data. One after the other, the last one stays. */
  function receive(data) { queue = queue.then(() => open(data)); }

  async function open({ volumes, ...rest }) {
    const own = wanted;
    if (!own || rest.id !== own.parentElement.dataset.name) return;
    scan = rest;
    describe();
    // The list is gone on a small screen, and with it the focus.
    if (!$('scans').getClientRects().length) { scrollTo(0, 0); $('title').focus({ preventScroll: true }); }
    try {
      $('viewer').hidden = false;
      if (!viewer) {
        const made = new Viewer(moved);
        await made.attach($('main'), $('other'));
        viewer = made;
      }
      await viewer.load(volumes, scan.slice);
    } catch (error) {
      fail(`The volumes cannot be drawn (${error.message}); this browser needs WebGL 2. The table and the files below are complete.`);
      return;
    }
    if (wanted !== own) return viewer.clear();
    shape();
    await beside();
    const first = scan.findings[0];
    if (first) go(first); else viewer.centre();
    draw();
    $('viewer').classList.remove('waiting');
    $('loading').textContent = '';
  }

  // ---- what is written about a scan

  const minus = text => text.replace('-', '−');
  const number = (value, digits = 3) =>
    value === null || value === undefined ? '–' : minus(String(Number(value.toPrecision(digits))));
  const place = mm => mm.every(v => v === null) ? '–' : mm.map(v => v === null ? '–' : minus(v.toFixed(1))).join(', ');
  const millilitres = mm3 => mm3 < 100 ? `${number(mm3)} mm³` : `${(mm3 / 1000).toFixed(mm3 < 9995 ? 2 : 1)} mL`;

  function element(tag, text, kind) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  function describe() {
    const facts = [
      [scan.subject !== scan.id && scan.subject, 'subject'], [scan.sequence, 'sequence'],
      [scan.score !== null && number(scan.score), 'score'],
      [scan.percentile !== null && number(scan.percentile), 'percentile of healthy subjects'],
      [scan.volume_mm3 !== null && millilitres(scan.volume_mm3), 'marked'],
    ].filter(([value]) => value);
    $('facts').replaceChildren(...facts.map(([value, name]) => {
      const fact = element('span', `${name} `);
      fact.append(element('b', value));
      return fact;
    }));
    $('reason').hidden = scan.status === 'done' && !scan.flags.length;
    $('reason').className = `alert ${scan.status}`;
    const { length } = scan.flags;
    $('looks').textContent = [scan.status, ...(length ? [scan.flags[0][0]] : [])].join(': ');
    $('numbers').hidden = length < 2 && !scan.flags.some(([, numbers]) => numbers);
    $('numbers').firstElementChild.textContent = length > 1 ? `all ${length} flags, with numbers` : 'numbers';
    $('numbers').lastElementChild.replaceChildren(
      ...scan.flags.map(flag => element('li', flag.filter(Boolean).join(': '))));
    $('notes').textContent = scan.notes;
    findings();
    $('files').replaceChildren(...Object.entries({ scan: null, ...scan.files }).map(([name, path]) => {
      const line = element('li', `${name}: `);
      if (path === null) { line.append(element('code', scan.image)); return line; }
      const file = element('a', decodeURIComponent(path));
      file.href = path;
      line.append(file);
      return line;
    }));
    const size = scan.spacing_mm.map(v => number(v, 2)).join(' × ');
    $('copy').textContent = `Shown is a copy for the screen at ${size} mm${scan.reduced ? ', coarser than the scan' : ''}, in 256 levels; the files have the full precision.`;
    $('uncertainty-label').hidden = !scan.files.uncertainty;
    $('reconstruction-label').hidden = !scan.files.reconstruction;
    // A level of the copy a step; the threshold itself is one of them.
    const level = scan.threshold ? Math.round(scan.threshold / scan.step) : Math.ceil(scan.top / 2);
    Object.assign($('threshold'), { min: 1, max: Math.max(scan.top, level + 1, 2), step: 1 });
    $('threshold').value = level;
    $('own-threshold').hidden = !scan.threshold;
    $('own-threshold').onclick = () => { $('threshold').value = level; draw(); };
  }

  function findings() {
    const sampled = scan.findings.some(one => one.support !== null || one.uncertainty !== null);
    $('findings').classList.toggle('sampled', sampled);
    $('findings').parentElement.hidden = !scan.findings.length;
    $('no-findings').hidden = scan.findings.length > 0;
    $('findings').tBodies[0].replaceChildren(...scan.findings.map(one => {
      const row = element('tr', undefined, one.marked ? 'doubtful' : '');
      const head = element('th');
      head.scope = 'row';
      const button = element('button', number(one.finding, 6));
      button.type = 'button';
      button.setAttribute('aria-label', `Go to finding ${number(one.finding, 6)}`);
      head.append(button);
      const where = element('td', [one.side, one.lobe, one.region].filter(Boolean).join(', ') || '–', 'text');
      if (one.marked) where.append(' ', element('span', 'doubtful: few samples support it', 'chip'));
      const support = one.support === null ? '–' : one.support <= 1 ? `${Math.round(100 * one.support)} %` : number(one.support);
      const cells = [number(one.volume_mm3, 4), number(one.peak), number(one.mean),
        number(one.contrast)]
        .map(text => element('td', text));
      cells.push(element('td', number(one.uncertainty), 'samples'), element('td', support, 'samples'));
      cells.push(element('td', place([one.x_mm, one.y_mm, one.z_mm])));
      cells.push(element('td', place([one.mni_x, one.mni_y, one.mni_z])));
      row.append(head, where, ...cells);
      row.onclick = () => go(one);
      return row;
    }));
  }

  // ---- the viewer

  function go(finding) {
    if (!viewer || finding.x_mm === null) return;
    const rows = [...$('findings').tBodies[0].rows];
    rows.forEach((row, at) => row.classList.toggle('here', scan.findings[at] === finding));
    viewer.go([finding.x_mm, finding.y_mm, finding.z_mm]);
  }

  function moved(mm, values) {
    const parts = [`x ${minus(mm[0].toFixed(1))}, y ${minus(mm[1].toFixed(1))}, z ${minus(mm[2].toFixed(1))} mm (RAS+)`];
    const names = { scan: 'scan', reconstruction: 'reconstruction', anomaly: 'anomaly', uncertainty: 'uncertainty' };
    for (const [name, word] of Object.entries(names)) {
      if (name in values) parts.push(`${word} ${number(values[name])}`);
    }
    $('position').textContent = parts.join(' · ');
  }

  function draw() {
    const level = Number($('threshold').value);
    const opacity = Number($('opacity').value) / 100;
    const voxel = scan.spacing_mm.reduce((a, b) => a * b, 1);
    $('threshold-value').textContent = number(level * scan.step);
    $('threshold').setAttribute('aria-valuetext', number(level * scan.step));
    $('marked').textContent = `${millilitres(viewer.count(level) * voxel)} at or above`;
    $('opacity-value').textContent = `${$('opacity').value} %`;
    viewer.set({
      level, opacity, step: scan.step, top: scan.top, anomaly: $('show-anomaly').checked,
      mask: $('show-mask').checked, uncertainty: $('show-uncertainty').checked,
    });
  }

  /** Gives the pictures the shape of what is drawn, so that they fill their place. */
  function shape() {
    const [wide, deep, tall] = scan.size_mm;
    const name = scan.slice ? 'axial' : $('view').value;
    const ratio = {
      axial: wide / deep, coronal: wide / tall, sagittal: deep / tall, render: 1,
      multiplanar: (wide + deep) / (tall + deep),
    }[name];
    for (const stage of document.querySelectorAll('.stage')) {
      stage.style.aspectRatio = ratio;
      stage.style.maxWidth = `calc(78vh * ${ratio})`;
    }
    viewer.view(name);
  }

  async function beside() {
    const on = Boolean(scan && scan.files.reconstruction && $('show-reconstruction').checked);
    // Shown before it is drawn in, emptied before it is hidden: nothing is drawn at no size.
    if (on) $('beside').hidden = false;
    if (viewer) await viewer.beside(on);
    $('beside').hidden = !on;
  }

  for (const id of ['sort', 'state', 'find']) $(id).oninput = arrange;
  for (const id of ['threshold', 'opacity', 'show-anomaly', 'show-mask', 'show-uncertainty']) {
    $(id).oninput = () => { if (viewer && scan) draw(); };
  }
  $('show-reconstruction').oninput = beside;
  $('cut').oninput = event => { if (viewer) { viewer.cut = event.target.checked; viewer.redraw(); } };
  $('view').oninput = () => { if (viewer && scan) shape(); };
  for (const form of ['order', 'controls']) $(form).onsubmit = event => event.preventDefault();
  $('list').onkeydown = walk;
  $('scans').dataset.title = document.title;
  // Two pictures one above the other are too much for a small screen to begin with.
  $('show-reconstruction').checked = !matchMedia('(max-width: 899px)').matches;
  $('order').hidden = false;
  addEventListener('hashchange', route);
  arrange();
  // After this script, so that what it loads finds `brainuad`.
  setTimeout(route);
  return { receive };
})();
