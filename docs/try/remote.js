/** Questions to the worker, and its answers. */

export class Remote {
  /** @param {(step: string) => void} onStep Called with each step of the work. */
  constructor(onStep) {
    Object.assign(this, { onStep, asked: new Map(), last: 0 });
  }

  /** The worker, once it has loaded. */
  start() {
    const address = new URL('worker.js', import.meta.url).href;
    // A worker of a blob is bound by the page's content security policy; one of a file is not.
    const source = new Blob([`import ${JSON.stringify(address)};`], { type: 'text/javascript' });
    this.ready ??= new Promise((done, fail) => {
      const worker = new Worker(URL.createObjectURL(source), { type: 'module' });
      worker.onmessage = ({ data }) => (data.kind === 'ready' ? done(worker) : this.heard(data));
      worker.onerror = () => {
        this.ready = null;
        const error = new Error('The page is incomplete: its worker does not load. Run make try.');
        fail(error);
        for (const { fail: other } of this.asked.values()) other(error);
        this.asked.clear();
      };
    });
    return this.ready;
  }

  heard({ id, kind, step, answer, message }) {
    if (kind === 'step') {
      this.onStep(step);
      return;
    }
    const { done, fail } = this.asked.get(id);
    this.asked.delete(id);
    if (kind === 'done') done(answer);
    else fail(new Error(message));
  }

  /**
   * Ask a question.
   * @param {string} kind
   * @param {object} words
   * @returns {Promise<object>}
   */
  async ask(kind, words) {
    const worker = await this.start();
    const id = ++this.last;
    return new Promise((done, fail) => {
      this.asked.set(id, { done, fail });
      worker.postMessage({ id, kind, ...words });
    });
  }
}
