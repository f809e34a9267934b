/* global niivue */
/** NiiVue with the scan, its map from a threshold on, and the outline of its mask. */

const VIEWS = { axial: 0, coronal: 1, sagittal: 2, multiplanar: 3 };

// In voxels, RAS; the patient's right is on the left of the screen.
const STEPS = {
  ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
  PageUp: [0, 0, 1], PageDown: [0, 0, -1],
};

export class Viewer {
  /**
   * @param {HTMLCanvasElement} canvas In an element of its own, whose shape is set here.
   * @param {(mm: number[], score: number) => void} onMove Called where the crosshair goes.
   */
  constructor(canvas, onMove) {
    Object.assign(this, { canvas, onMove, pending: false, layers: false });
  }

  /** Whether the browser can draw volumes. */
  static isPossible() {
    this.possible ??= Boolean(document.createElement('canvas').getContext('webgl2'));
    return this.possible;
  }

  /** Begin, where that is possible. */
  async start() {
    if (this.own) return;
    const own = new niivue.Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.6, 0.9, 0.6, 1], crosshairGap: 12,
      crosshairWidth: 1.3, crosshairWidthUnit: 'mm', fontColor: [0.8, 0.85, 0.9, 1],
      show3Dcrosshair: true, isRadiologicalConvention: true, sagittalNoseLeft: true,
      multiplanarLayout: 2, multiplanarShowRender: 1, multiplanarEqualSize: false, tileMargin: 4,
      loadingText: '', clipPlaneColor: [0, 0, 0, 0], dragAndDropEnabled: false,
      scrollRequiresFocus: true, logLevel: 'error', viewModeHotKey: '', clipPlaneHotKey: '',
      cycleClipPlaneHotKey: '',
    });
    await own.attachToCanvas(this.canvas);
    own.addColormap('outline', { R: [0, 0], G: [0, 229], B: [0, 255], A: [0, 255], I: [0, 255] });
    own.onLocationChange = place => this.moved(place.mm);
    // Before NiiVue's own keys, which know neither arrows nor the radiological side.
    this.canvas.parentElement.addEventListener('keydown', event => this.key(event), true);
    this.own = own;
  }

  key(event) {
    const step = STEPS[event.key];
    if (!step || !this.own.volumes.length) return;
    event.preventDefault();
    event.stopPropagation();
    this.own.moveCrosshairInVox(...step);
  }

  moved(mm) {
    const map = this.volumes?.map;
    if (map) this.onMove([...mm].slice(0, 3), map.getValue(...map.mm2vox(mm)));
    this.redraw();
  }

  /**
   * Show a scan.
   * @param {{scan: ArrayBuffer, map: ArrayBuffer, outline: ArrayBuffer}} files NIfTI.
   * @param {number[]} size Extent in mm along RAS axes.
   */
  async show({ scan, map, outline }, size) {
    this.clear();
    this.size = size;
    const volumes = {
      scan: await read('scan', scan, 'gray', 1), map: await read('map', map, 'warm', 0.6),
      outline: await read('outline', outline, 'outline', 1),
    };
    for (const volume of [volumes.map, volumes.outline]) {
      // Below the first value nothing is drawn.
      volume.colormapType = 2;
      volume.cal_max = 1;
    }
    volumes.outline.cal_min = 0.5;
    this.volumes = volumes;
    this.own.volumes = Object.values(volumes);
    this.own.setVolume(volumes.scan, 0);
  }

  clear() {
    this.volumes = null;
    if (!this.own?.volumes.length) return;
    this.own.volumes = this.own.volumes.slice(0, 1);
    this.own.removeVolume(this.own.volumes[0]);
  }

  /** Draw another outline. @param {ArrayBuffer} outline NIfTI. */
  outline(outline) {
    this.volumes.outline.img = new Uint8Array(outline, 352);
    this.redraw(true);
  }

  /** Draw with other settings. */
  set({ threshold, opacity, map, mask }) {
    this.volumes.map.cal_min = threshold;
    this.volumes.map.opacity = map ? opacity : 0;
    this.volumes.outline.opacity = mask ? 1 : 0;
    this.redraw(true);
  }

  /** Give the picture the shape of what is drawn, so that it fills its place. */
  view(name) {
    const [wide, deep, tall] = this.size;
    const ratio = {
      axial: wide / deep, coronal: wide / tall, sagittal: deep / tall,
      multiplanar: (wide + deep) / (tall + deep),
    }[name];
    const { style } = this.canvas.parentElement;
    style.aspectRatio = ratio;
    style.maxWidth = `calc(80vh * ${ratio})`;
    this.own.setSliceType(VIEWS[name]);
    this.own.resizeListener();
  }

  /** Move the crosshair to a place in mm. */
  go(mm) {
    this.own.scene.crosshairPos = this.own.mm2frac(mm, 0, true);
    this.own.createOnLocationChange();
  }

  /** Once a frame however often it is asked for; `layers` when what is drawn has changed too. */
  redraw(layers = false) {
    this.layers ||= layers;
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      if (!this.own.volumes.length) return;
      if (this.layers) this.own.updateGLVolume();
      this.layers = false;
      // The left of the head is cut away up to the crosshair.
      this.own.setClipPlane([0.5 - this.own.scene.crosshairPos[0], 270, 0]);
    });
  }
}

function read(name, buffer, colormap, opacity) {
  const file = new File([buffer], `${name}.nii`);
  return niivue.NVImage.loadFromFile({ file, name: file.name, colormap, opacity });
}
