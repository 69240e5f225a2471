const SPREAD = 2, SIDE = 8, GAP = 2;
const sliders = document.querySelectorAll("#sliders input"), REACH = Number(sliders[0].max);
const along = new Array(facts.directions.length).fill(0);
let base = codes.slice(0, facts.latent), number = 0, shown, pins = [null, null], playing = 0;

const moved = (steps) =>
  base.map((value, i) => facts.directions.reduce((sum, direction, k) => sum + steps[k] * direction[i], value));
/** How far along the directions a sample of the grid is, from its column and row. */
const spread = (cell) => along.map((step, k) => step + (k < 2 ? SPREAD * (2 * cell[k] / (SIDE - 1) - 1) : 0));
const current = () => ({ z: moved(along), label });

function between(t) {
  const [a, b] = pins.map((pin) => pin.z), length = (z) => Math.hypot(...z);
  const z = a.map((value, i) => value + t * (b[i] - value));
  // Gaussian codes lie near a sphere, and so do those between them.
  const wanted = length(a) + t * (length(b) - length(a)), scale = facts.sphere ? wanted / (length(z) || 1) : 1;
  return { z: z.map((value) => value * scale), label: pins[t < 0.5 ? 0 : 1].label };
}

function around() {
  const cells = Array.from({ length: SIDE * SIDE }, (_, k) => [k % SIDE, Math.floor(k / SIDE)]);
  return Float32Array.from(cells.flatMap((cell) => [...moved(spread(cell))]));
}

async function render() {
  const one = shown || current();
  paint(at("image"), facts.shape, await draw(one.z, [one.label]));
  if (!shown) paint(at("grid"), facts.shape, await draw(around(), new Array(SIDE * SIDE).fill(label)), SIDE, GAP);
}

function update() {
  stop();
  shown = null;
  at("dot").style.inset = `${50 + 50 * (along[1] || 0) / REACH}% auto auto ${50 + 50 * along[0] / REACH}%`;
  sliders.forEach((slider, k) => { slider.value = along[k]; });
  return frame();
}

function move(changes) {
  for (const [k, value] of changes) if (k < along.length) along[k] = Math.max(-REACH, Math.min(REACH, value));
  return update();
}

/** A looping GIF of pictures, enlarged, in 6x6x6 colours or 256 greys, written without compression. */
function gif(pixels, delay) {
  const grey = channels === 1, area = width * height, scale = Math.max(1, Math.floor(128 / Math.max(width, height)));
  const w = scale * width, h = scale * height, out = [], word = (value) => out.push(value & 255, value >> 8);
  const text = (ascii) => out.push(...new TextEncoder().encode(ascii)), level = (value) => Math.round(value / 51);
  text("GIF89a"); word(w); word(h); out.push(0xf7, 0, 0);
  for (let i = 0; i < 256; i++)
    out.push(...(grey ? [i, i, i] : i < 216 ? [51 * Math.floor(i / 36), 51 * (Math.floor(i / 6) % 6), 51 * (i % 6)] : [0, 0, 0]));
  out.push(0x21, 0xff, 11); text("NETSCAPE2.0"); out.push(3, 1, 0, 0, 0);
  for (let start = 0; start < pixels.length; start += channels * area) {
    out.push(0x21, 0xf9, 4, 4); word(delay); out.push(0, 0, 0x2c); word(0); word(0); word(w); word(h); out.push(0, 8);
    const codes = [], packed = [];
    for (let i = 0; i < w * h; i++) {
      const k = start + Math.floor(i / w / scale) * width + Math.floor(i % w / scale);
      if (i % 250 === 0) codes.push(256); // codes stay nine bits long
      codes.push(grey ? pixels[k] : 36 * level(pixels[k]) + 6 * level(pixels[k + area]) + level(pixels[k + 2 * area]));
    }
    [...codes, 257].forEach((code, k) => {
      const byte = 9 * k >> 3, bit = 9 * k & 7;
      packed[byte] |= code << bit & 255;
      packed[byte + 1] = code >> 8 - bit;
    });
    for (let i = 0; i < packed.length; i += 255) out.push(Math.min(255, packed.length - i), ...packed.slice(i, i + 255));
    out.push(0);
  }
  out.push(0x3b);
  return new Blob([Uint8Array.from(out)], { type: "image/gif" });
}

async function walk() {
  const ones = Array.from({ length: 32 }, (_, k) => between(0.5 - 0.5 * Math.cos(2 * Math.PI * k / 32)));
  return gif(await draw(Float32Array.from(ones.flatMap((one) => [...one.z])), ones.map((one) => one.label)), 6);
}

function pin(which) {
  pins[which] = shown || current();
  draw(pins[which].z, [pins[which].label]).then((pixels) => paint(at(which ? "b" : "a"), facts.shape, pixels));
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

sliders.forEach((slider, k) => slider.addEventListener("input", () => move([[k, Number(slider.value)]])));
const pointed = (event) => move(within(event).map((part, k) => [k, REACH * (2 * part - 1)]));
at("pad").addEventListener("pointerdown", (event) => { at("pad").setPointerCapture(event.pointerId); pointed(event); });
at("pad").addEventListener("pointermove", (event) => { if (event.buttons) pointed(event); });
for (const [id, size] of [["pad", 0.1], ["grid", 2 * SPREAD / (SIDE - 1)]]) // in the grid, a step to the next sample
  at(id).addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
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
  const cell = within(event).map((part) => Math.min(SIDE - 1, Math.floor(part * SIDE)));
  move(spread(cell).entries());
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
at("save-grid").addEventListener("click", () => at("grid").toBlob((blob) => download("grid.png", blob)));
at("gif").addEventListener("click", async () => download("interpolation.gif", await walk()));
await start();
