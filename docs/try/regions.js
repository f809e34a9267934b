/** Connected regions of masks. */

/**
 * Number the connected regions of a mask from 1.
 * @param {Uint8Array} mask
 * @param {number[]} shape
 * @param {6 | 26} connectivity Across faces, or across edges and corners too.
 * @returns {{labels: Int32Array, sizes: number[]}} Sizes in voxels; that of 0 is not counted.
 */
export function label(mask, shape, connectivity = 26) {
  const labels = new Int32Array(mask.length);
  const sizes = [0];
  const grow = grower(mask, shape, connectivity, labels);
  for (let start = 0; start < mask.length; start++) {
    if (mask[start] && !labels[start]) sizes.push(grow(start, sizes.length));
  }
  return { labels, sizes };
}

/**
 * The largest region of a mask, across faces; of several the first.
 * @param {Uint8Array} mask
 * @param {number[]} shape
 * @returns {Uint8Array}
 */
export function largest(mask, shape) {
  const { labels, sizes } = label(mask, shape, 6);
  if (sizes.length === 1) return mask;
  let number = 1;
  for (let other = 2; other < sizes.length; other++) if (sizes[other] > sizes[number]) number = other;
  const out = new Uint8Array(mask.length);
  for (let at = 0; at < out.length; at++) out[at] = labels[at] === number ? 1 : 0;
  return out;
}

/**
 * A mask with the holes filled that its voxels enclose: background that is not connected to the
 * array's faces, across faces.
 * @param {Uint8Array} mask
 * @param {number[]} shape
 * @returns {Uint8Array}
 */
export function filled(mask, shape) {
  const outside = new Uint8Array(mask.length);
  for (let at = 0; at < mask.length; at++) outside[at] = mask[at] ? 0 : 1;
  const reached = new Int32Array(mask.length);
  const grow = grower(outside, shape, 6, reached);
  eachBorder(shape, at => { if (outside[at] && !reached[at]) grow(at, 1); });
  for (let at = 0; at < mask.length; at++) outside[at] = reached[at] ? 0 : 1;
  return outside;
}

/** A function that numbers the region of a voxel, and returns its size. */
function grower(mask, [nx, ny, nz], connectivity, labels) {
  const steps = [];
  for (const dz of [-1, 0, 1]) {
    for (const dy of [-1, 0, 1]) {
      for (const dx of [-1, 0, 1]) {
        const apart = Math.abs(dx) + Math.abs(dy) + Math.abs(dz);
        if (apart && (connectivity === 26 || apart === 1)) steps.push(dx, dy, dz, dx + nx * (dy + ny * dz));
      }
    }
  }
  const [plane, length] = [nx * ny, steps.length];
  let queue = new Int32Array(1 << 16);
  return (start, number) => {
    labels[start] = number;
    queue[0] = start;
    let filled = 1;
    for (let done = 0; done < filled; done++) {
      const at = queue[done];
      const z = (at / plane) | 0;
      const rest = at - z * plane;
      const y = (rest / nx) | 0;
      const x = rest - y * nx;
      const inner = x > 0 && x < nx - 1 && y > 0 && y < ny - 1 && z > 0 && z < nz - 1;
      if (filled + 26 > queue.length) {
        const longer = new Int32Array(2 * queue.length);
        longer.set(queue);
        queue = longer;
      }
      for (let k = 0; k < length; k += 4) {
        const there = at + steps[k + 3];
        if (!inner) {
          const [px, py, pz] = [x + steps[k], y + steps[k + 1], z + steps[k + 2]];
          if (px < 0 || px >= nx || py < 0 || py >= ny || pz < 0 || pz >= nz) continue;
        }
        if (mask[there] && !labels[there]) {
          labels[there] = number;
          queue[filled++] = there;
        }
      }
    }
    return filled;
  };
}

/** Visits the voxels of the array's faces, some of them twice. */
function eachBorder([nx, ny, nz], visit) {
  for (let z = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) {
      const row = nx * (y + ny * z);
      const whole = z === 0 || z === nz - 1 || y === 0 || y === ny - 1;
      for (let x = 0; x < nx; x += whole || nx === 1 ? 1 : nx - 1) visit(row + x);
    }
  }
}

/**
 * The voxels of a mask with a face at its outside.
 * @param {Uint8Array} mask
 * @param {number[]} shape
 * @returns {Uint8Array}
 */
export function surface(mask, [nx, ny, nz]) {
  const out = new Uint8Array(mask.length);
  const plane = nx * ny;
  for (let z = 0, at = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) {
      for (let x = 0; x < nx; x++, at++) {
        if (!mask[at]) continue;
        const inner = x > 0 && x < nx - 1 && y > 0 && y < ny - 1 && z > 0 && z < nz - 1
          && mask[at - 1] && mask[at + 1] && mask[at - nx] && mask[at + nx]
          && mask[at - plane] && mask[at + plane];
        out[at] = inner ? 0 : 1;
      }
    }
  }
  return out;
}
