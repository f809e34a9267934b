/** The engine of the page in Node, with the files of a built page. */
import { openAsBlob } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import * as ort from 'onnxruntime-web/wasm';

export async function nodeEngine(page) {
  const assets = path.join(page, 'assets');
  const own = name => import(pathToFileURL(path.resolve(page, name)).href);
  ort.env.wasm.numThreads = 1;
  const { Engine } = await own('engine.js');
  return new Engine(ort, name => openAsBlob(path.join(assets, name)));
}
