/** Order statistics of long arrays, without sorting them. */

/**
 * The value of a rank, by Hoare's selection; the array's order changes.
 * @param {Float32Array} values
 * @param {number} rank From 0.
 */
export function select(values, rank) {
  let low = 0;
  let high = values.length - 1;
  while (low < high) {
    const pivot = values[(low + high) >> 1];
    let i = low;
    let j = high;
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i <= j) {
        const kept = values[i];
        values[i++] = values[j];
        values[j--] = kept;
      }
    }
    if (rank <= j) high = j;
    else if (rank >= i) low = i;
    else break;
  }
  return values[rank];
}

/**
 * A percentile by linear interpolation, as numpy's, of values that are 0 or more.
 * @param {Float32Array} values
 * @param {number} percent
 */
export function percentile(values, percent) {
  const place = (percent / 100) * (values.length - 1);
  const low = Math.floor(place);
  // Most voxels of a scan without skull are 0, and come first.
  const own = values.filter(value => value !== 0);
  const zeros = values.length - own.length;
  const first = low < zeros ? 0 : select(own, low - zeros);
  if (low === place) return first;
  let second = Infinity;
  // All that stand behind the rank are at least as large.
  for (let i = Math.max(low + 1 - zeros, 0); i < own.length; i++) if (own[i] < second) second = own[i];
  if (low + 1 < zeros) second = 0;
  return first + (place - low) * (second - first);
}
