'use strict';
// Two linked canvases of NiiVue: the scan with its overlays, and the reconstruction beside it.

const VIEWS = { axial: 0, coronal: 1, sagittal: 2, multiplanar: 3, render: 4 };
const STEPS = { // in voxels, RAS; the patient's right is on the left of the screen
  ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
  PageUp: [0, 0, 1], PageDown: [0, 0, -1],
};

class Viewer {
  /** onMove(mm, values) is called wherever the crosshair goes; values by the volumes' names. */
  constructor(onMove) {
    Object.assign(this, { onMove, cut: true, pending: false, layers: false, slice: false });
  }

  async attach(main, other) {
    [this.main, this.other] = [await this.canvas(main), null];
    this.place = other;
  }

  async canvas(element) {
    const own = new niivue.Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.6, 0.9, 0.6, 1], crosshairGap: 12,
      crosshairWidth: 1.3, crosshairWidthUnit: 'mm', fontColor: [0.8, 0.85, 0.9, 1], show3Dcrosshair: true,
      isRadiologicalConvention: true, sagittalNoseLeft: true, multiplanarLayout: 2,
      multiplanarShowRender: 1, multiplanarEqualSize: false, tileMargin: 4, loadingText: '',
      clipPlaneColor: [0, 0, 0, 0], dragAndDropEnabled: false, scrollRequiresFocus: true, logLevel: 'error',
      viewModeHotKey: '', clipPlaneHotKey: '', cycleClipPlaneHotKey: '',
    });
    await own.attachToCanvas(element);
    own.addColormap('outline', { R: [0, 0], G: [0, 229], B: [0, 255], A: [0, 255], I: [0, 255] });
    own.onLocationChange = place => this.moved(own, place.mm);
    // Before NiiVue's own keys, which know neither arrows nor the radiological side.
    element.parentElement.addEventListener('keydown', event => this.key(own, event), true);
    return own;
  }

  turn(own) {
    own.setRadiologicalConvention(!this.slice);
    own.setIsOrientationTextVisible(!this.slice);
  }

  canvases() { return this.other ? [this.main, this.other] : [this.main]; }

  key(own, event) {
    const step = STEPS[event.key];
    if (!step || !own.volumes.length) return;
    event.preventDefault();
    event.stopPropagation();
    own.moveCrosshairInVox(this.slice ? -step[0] : step[0], step[1], step[2]);
  }

  moved(own, mm) {
    if (!own.volumes.length) return;
    for (const theirs of this.canvases()) {
      if (theirs !== own && theirs.volumes.length) {
        theirs.scene.crosshairPos = theirs.mm2frac(mm, 0, true);
      }
    }
    this.redraw();
    const values = {};
    for (const volume of this.canvases().flatMap(one => one.volumes)) {
      values[volume.name.split('.')[0]] = volume.getValue(...volume.mm2vox(mm));
    }
    this.onMove([...mm].slice(0, 3), values);
  }

  /**
   * Shows the volumes of a scan, base64 of .nii.gz by name; those of the last one are let go.
   * Of a 2D image nobody knows the sides: it is shown as it is, without letters.
   */
  async load(volumes, slice = false) {
    this.clear();
    this.slice = slice;
    this.canvases().forEach(own => this.turn(own));
    this.main.resizeListener(); // it may have been hidden, and NiiVue would hear of it too late
    const kinds = {
      scan: ['gray', 1], anomaly: ['warm', 0.7], uncertainty: ['violet', 0], mask: ['outline', 1],
    };
    this.volumes = {};
    for (const [name, [colormap, opacity]] of Object.entries(kinds)) {
      if (!volumes[name]) continue;
      const volume = await this.read(name, volumes[name], colormap, opacity);
      this.volumes[name] = volume;
      // Below the threshold nothing is drawn, and a colour means the same whatever the threshold.
      if (name !== 'scan') volume.colormapType = 2;
    }
    const { mask, uncertainty } = this.volumes;
    if (mask) [mask.cal_min, mask.cal_max] = [0.5, 1];
    if (uncertainty) { // fades towards zero instead of ending at a threshold
      uncertainty.colormapType = 1;
      uncertainty.cal_min = uncertainty.cal_max = uncertainty.global_max || 1;
    }
    this.reconstruction = volumes.reconstruction
      && await this.read('reconstruction', volumes.reconstruction, 'gray', 1);
    this.fill(this.main, Object.values(this.volumes));
    // Voxels at or above each level, so that moving the threshold counts nothing.
    this.counts = new Float64Array(257);
    for (const level of this.volumes.anomaly.img) this.counts[level] += 1;
    for (let level = 255; level >= 0; level--) this.counts[level] += this.counts[level + 1];
  }

  /** Shows the reconstruction in the second canvas, which must be visible then, or empties it. */
  async beside(on) {
    if (!on || !this.reconstruction) return this.other && this.empty(this.other);
    this.other ??= await this.canvas(this.place);
    this.turn(this.other);
    if (this.other.volumes.length) return;
    this.other.resizeListener();
    const [{ scan }, volume] = [this.volumes, this.reconstruction];
    [volume.cal_min, volume.cal_max] = [scan.cal_min, scan.cal_max];
    this.other.setSliceType(this.main.opts.sliceType);
    this.fill(this.other, [volume]);
    this.moved(this.main, this.main.frac2mm(this.main.scene.crosshairPos, 0, true));
  }

  clear() {
    this.canvases().forEach(own => this.empty(own));
    [this.volumes, this.reconstruction] = [{}, null];
  }

  /** All at once: NiiVue uploads every volume to the graphics card each time one is added. */
  fill(own, volumes) {
    own.volumes = volumes;
    own.setVolume(volumes[0], 0);
  }

  empty(own) {
    own.volumes = own.volumes.slice(0, 1);
    if (own.volumes.length) own.removeVolume(own.volumes[0]);
  }

  async read(name, base64, colormap, opacity) {
    return niivue.NVImage.loadFromBase64({ base64, name: name + '.nii.gz', colormap, opacity });
  }

  /** Voxels of the copy at or above a level of the anomaly map. */
  count(level) { return this.counts[Math.min(256, Math.max(0, level))]; }

  /** Draws with other settings, once a frame however fast they come. */
  set({ level, step, top, opacity, anomaly, mask, uncertainty }) {
    const { volumes } = this;
    // Half a level below, so that rounding on the graphics card does not decide.
    volumes.anomaly.cal_min = (level - 0.5) * step;
    volumes.anomaly.cal_max = Math.max(top, level + 1) * step;
    volumes.anomaly.opacity = anomaly ? opacity : 0;
    volumes.mask.opacity = mask ? 1 : 0;
    if (volumes.uncertainty) volumes.uncertainty.opacity = uncertainty ? opacity : 0;
    this.redraw(true);
  }

  /** Once a frame however often it is asked for; `layers` when what is drawn has changed too. */
  redraw(layers = false) {
    this.layers ||= layers;
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      for (const own of this.canvases()) {
        if (!own.volumes.length) continue;
        if (this.layers && own === this.main) own.updateGLVolume();
        // The left of the head is cut away up to the crosshair; a depth of 2 cuts nothing.
        own.setClipPlane([this.cut ? 0.5 - own.scene.crosshairPos[0] : 2, 270, 0]);
      }
      this.layers = false;
    });
  }

  view(name) {
    for (const own of this.canvases()) own.setSliceType(this.slice ? VIEWS.axial : VIEWS[name]);
  }

  /** Moves the crosshair to a place in world mm. */
  go(mm) {
    this.main.scene.crosshairPos = this.main.mm2frac(mm, 0, true);
    this.main.createOnLocationChange(); // so that what is said is where it went
  }

  centre() { this.go(this.main.frac2mm([0.5, 0.5, 0.5], 0, true)); }
}
