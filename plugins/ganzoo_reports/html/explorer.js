const facts = JSON.parse(document.getElementById("facts").textContent);
const [channels, height, width] = facts.shape;
const SPREAD = 2, SIDE = 8, GAP = 2;
const at = (id) => document.getElementById(id);
const buttons = document.querySelectorAll("#classes button"), sliders = document.querySelectorAll("#sliders input");
const REACH = Number(sliders[0].max);
const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
const codes = new Float32Array(bytes(facts.codes).buffer);
const along = new Array(facts.directions.length).fill(0);
let base = codes.slice(0, facts.latent), label = 0, number = 0, session, shown, pins = [null, null];
let dirty = false, busy = false, playing = 0;

/** Draws n samples from concatenated codes and a label each: uint8 pixels (n, channels, height, width). */
async function draw(z, labels) {
  const n = labels.length, feeds = { z: new ort.Tensor("float32", z, [n, facts.latent]) };
  if (buttons.length) feeds.label = new ort.Tensor("int64", BigInt64Array.from(labels, BigInt), [n]);
  const { sample } = await session.run(feeds);
  // Round as torch does: halves go to the even neighbour.
  return Uint8ClampedArray.from(sample.data, (value) => Math.fround(Math.fround(value + 1) * 127.5));
}

function moved(steps) {
  const z = base.slice();
  facts.directions.forEach((direction, k) => { for (let i = 0; i < z.length; i++) z[i] += steps[k] * direction[i]; });
  return z;
}

const current = () => ({ z: moved(along), label });

function between(t) {
  const [a, b] = pins.map((pin) => pin.z), length = (z) => Math.hypot(...z);
  const z = a.map((value, i) => value + t * (b[i] - value));
  // Gaussian codes lie near a sphere, and so do those between them.
  const wanted = length(a) + t * (length(b) - length(a)), scale = facts.sphere ? wanted / (length(z) || 1) : 1;
  return { z: z.map((value) => value * scale), label: pins[t < 0.5 ? 0 : 1].label };
}

function paint(canvas, pixels, columns, gap) {
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

function around() {
  const z = new Float32Array(SIDE * SIDE * facts.latent);
  for (let k = 0; k < SIDE * SIDE; k++) {
    const steps = along.slice();
    steps[0] += SPREAD * (2 * (k % SIDE) / (SIDE - 1) - 1);
    if (steps.length > 1) steps[1] += SPREAD * (2 * Math.floor(k / SIDE) / (SIDE - 1) - 1);
    z.set(moved(steps), k * facts.latent);
  }
  return z;
}

async function frame() {
  if (busy) { dirty = true; return; }
  busy = true;
  do {
    dirty = false;
    const one = shown || current();
    paint(at("image"), await draw(Float32Array.from(one.z), [one.label]), 1, 0);
    if (!shown) paint(at("grid"), await draw(around(), new Array(SIDE * SIDE).fill(label)), SIDE, GAP);
  } while (dirty);
  busy = false;
}

function update() {
  stop();
  shown = null;
  at("dot").style.left = `${50 + 50 * along[0] / REACH}%`;
  at("dot").style.top = `${50 + 50 * (along[1] || 0) / REACH}%`;
  sliders.forEach((slider, k) => { slider.value = along[k]; });
  buttons.forEach((button, k) => button.setAttribute("aria-pressed", k === label));
  return frame();
}

function move(changes) {
  for (const [k, value] of changes) if (k < along.length) along[k] = Math.max(-REACH, Math.min(REACH, value));
  return update();
}

function download(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** A looping GIF of canvas pixels in 6x6x6 colours, or 256 greys, written without compression. */
function gif(frames, w, h, delay) {
  const grey = channels === 1, out = [], word = (value) => out.push(value & 255, value >> 8);
  out.push(..."GIF89a".split("").map((one) => one.charCodeAt(0)));
  word(w); word(h); out.push(0xf7, 0, 0);
  for (let i = 0; i < 256; i++)
    out.push(...(grey ? [i, i, i] : i < 216 ? [51 * Math.floor(i / 36), 51 * (Math.floor(i / 6) % 6), 51 * (i % 6)] : [0, 0, 0]));
  out.push(0x21, 0xff, 11, ..."NETSCAPE2.0".split("").map((one) => one.charCodeAt(0)), 3, 1, 0, 0, 0);
  for (const data of frames) {
    out.push(0x21, 0xf9, 4, 4); word(delay); out.push(0, 0, 0x2c); word(0); word(0); word(w); word(h); out.push(0, 8);
    let bits = 0, held = 0, block = [];
    const put = (code) => {
      held |= code << bits;
      for (bits += 9; bits >= 8; bits -= 8) {
        block.push(held & 255);
        held >>= 8;
        if (block.length === 255) { out.push(255, ...block); block = []; }
      }
    };
    const level = (value) => Math.round(value / 51);
    for (let i = 0; i < w * h; i++) {
      if (i % 250 === 0) put(256); // codes stay nine bits long
      put(grey ? data[4 * i] : 36 * level(data[4 * i]) + 6 * level(data[4 * i + 1]) + level(data[4 * i + 2]));
    }
    put(257);
    if (bits) block.push(held & 255);
    if (block.length) out.push(block.length, ...block);
    out.push(0);
  }
  out.push(0x3b);
  return new Blob([Uint8Array.from(out)], { type: "image/gif" });
}

async function walk() {
  const steps = 32, scale = Math.max(1, Math.floor(128 / Math.max(width, height))), canvas = document.createElement("canvas");
  const large = document.createElement("canvas"), frames = [];
  large.width = width * scale;
  large.height = height * scale;
  const context = large.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  for (let k = 0; k < steps; k++) {
    const one = between(0.5 - 0.5 * Math.cos(2 * Math.PI * k / steps));
    paint(canvas, await draw(Float32Array.from(one.z), [one.label]), 1, 0);
    context.drawImage(canvas, 0, 0, large.width, large.height);
    frames.push(context.getImageData(0, 0, large.width, large.height).data);
  }
  return gif(frames, large.width, large.height, 6);
}

function pin(which) {
  const one = shown || current();
  pins[which] = { z: Float32Array.from(one.z), label: one.label };
  draw(pins[which].z, [one.label]).then((pixels) => paint(at(which ? "b" : "a"), pixels, 1, 0));
  const ready = pins.every(Boolean);
  for (const id of ["between", "play", "gif"]) at(id).disabled = !ready;
}

function stop() {
  cancelAnimationFrame(playing);
  playing = 0;
  at("play").textContent = "Play";
}

function show(t) {
  at("between").value = t;
  shown = between(t);
  return frame();
}

buttons.forEach((button, k) => button.addEventListener("click", () => { label = k; update(); }));
sliders.forEach((slider, k) => slider.addEventListener("input", () => move([[k, Number(slider.value)]])));
const pointed = (event) => {
  const box = at("pad").getBoundingClientRect();
  move([[0, REACH * (2 * (event.clientX - box.left) / box.width - 1)], [1, REACH * (2 * (event.clientY - box.top) / box.height - 1)]]);
};
at("pad").addEventListener("pointerdown", (event) => { at("pad").setPointerCapture(event.pointerId); pointed(event); });
at("pad").addEventListener("pointermove", (event) => { if (event.buttons) pointed(event); });
for (const [id, size] of [["pad", 0.1], ["grid", 2 * SPREAD / (SIDE - 1)]]) // in the grid, a step to the next sample
  at(id).addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, -1], ArrowDown: [1, 1] }[event.key];
    if (!step || step[0] >= along.length) return;
    event.preventDefault();
    move([[step[0], along[step[0]] + size * step[1]]]);
  });
at("next").addEventListener("click", () => {
  number = (number + 1) % (codes.length / facts.latent);
  base = codes.slice(number * facts.latent, (number + 1) * facts.latent);
  along.fill(0);
  update();
});
at("centre").addEventListener("click", () => { along.fill(0); update(); });
at("grid").addEventListener("click", (event) => {
  const box = at("grid").getBoundingClientRect(), cell = (part) => Math.min(SIDE - 1, Math.floor(part * SIDE));
  const step = (part) => SPREAD * (2 * cell(part) / (SIDE - 1) - 1);
  move([[0, along[0] + step((event.clientX - box.left) / box.width)], [1, (along[1] || 0) + step((event.clientY - box.top) / box.height)]]);
});
at("pin-a").addEventListener("click", () => pin(0));
at("pin-b").addEventListener("click", () => pin(1));
at("between").addEventListener("input", () => { stop(); show(Number(at("between").value)); });
at("play").addEventListener("click", () => {
  if (playing) return stop();
  at("play").textContent = "Pause";
  const began = performance.now();
  const tick = async (now) => {
    await show(0.5 - 0.5 * Math.cos((now - began) / 1000));
    if (playing) playing = requestAnimationFrame(tick);
  };
  playing = requestAnimationFrame(tick);
});
at("save").addEventListener("click", () => at("image").toBlob((blob) => download("sample.png", blob)));
at("save-grid").addEventListener("click", () => at("grid").toBlob((blob) => download("grid.png", blob)));
at("gif").addEventListener("click", async () => download("interpolation.gif", await walk()));

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
