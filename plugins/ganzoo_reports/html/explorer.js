const facts = JSON.parse(document.getElementById("facts").textContent);
const [channels, height, width] = facts.shape;
const at = (id) => document.getElementById(id);
const buttons = document.querySelectorAll("#classes button");
const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
const codes = new Float32Array(bytes(facts.codes).buffer);
const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, -1], ArrowDown: [1, 1] };
let label = 0, session, dirty = false, busy = false;

/** Draws a sample for each label, from concatenated codes and sources: uint8 pixels (n, channels, height, width). */
async function draw(z, labels, source = []) {
  const n = labels.length, given = {
    z: ["float32", z, [n, facts.latent]],
    label: ["int64", BigInt64Array.from(labels, BigInt), [n]],
    source: ["float32", source, [n, ...facts.source ?? []]],
  };
  const feeds = session.inputNames.map((name) => [name, new ort.Tensor(...given[name])]);
  const { sample } = await session.run(Object.fromEntries(feeds));
  // Round as torch does: halves go to the even neighbour.
  return Uint8ClampedArray.from(sample.data, (value) => Math.fround(Math.fround(value + 1) * 127.5));
}

function paint(canvas, [channels, height, width], pixels, columns = 1, gap = 0) {
  const size = height * width, n = pixels.length / (channels * size);
  canvas.width = columns * (width + gap) - gap;
  canvas.height = Math.ceil(n / columns) * (height + gap) - gap;
  const context = canvas.getContext("2d"), tile = context.createImageData(width, height);
  context.fillRect(0, 0, canvas.width, canvas.height); // gaps are black
  tile.data.fill(255);
  for (let k = 0; k < n; k++) {
    for (let i = 0; i < size; i++)
      for (let c = 0; c < 3; c++) tile.data[4 * i + c] = pixels[(k * channels + c % channels) * size + i];
    context.putImageData(tile, (k % columns) * (width + gap), Math.floor(k / columns) * (height + gap));
  }
}

/** Where the pointer is: shares of an element's width and height. */
function within(event, box = event.currentTarget.getBoundingClientRect()) {
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

/** Shows the current state, by the page's own render(), and once more if it changes meanwhile. */
async function frame() {
  if (busy) { dirty = true; return; }
  busy = true;
  do {
    dirty = false;
    buttons.forEach((button, k) => button.setAttribute("aria-pressed", k === label));
    await render();
  } while (dirty);
  busy = false;
}

function download(name, blob) {
  Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name }).click();
}

buttons.forEach((button, k) => button.addEventListener("click", () => { label = k; update(); }));
at("save").addEventListener("click", () => at("image").toBlob((blob) => download("sample.png", blob)));

/** Loads the generator and draws what the page begins with. */
async function start() {
  try {
    const packed = new Blob([bytes(facts.wasm)]).stream().pipeThrough(new DecompressionStream("gzip"));
    ort.env.wasm.wasmBinary = await new Response(packed).arrayBuffer();
    ort.env.wasm.numThreads = 1; // a page opened from a file has no shared memory
    session = await ort.InferenceSession.create(bytes(facts.model), { executionProviders: ["wasm"] });
    await update();
    at("status").textContent = "";
  } catch (error) {
    at("status").textContent = `This browser cannot draw samples: ${error.message}`;
  }
  globalThis.explorer = { draw };
  document.body.dataset.ready = Boolean(session);
}
