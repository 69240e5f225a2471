const [depth, rows, columns] = facts.source, sides = [columns, rows], area = rows * columns;
const pictures = bytes(facts.pictures), sheet = at("source"), past = [];
const context = sheet.getContext("2d", { willReadFrequently: true });
let spot = sides.map((side) => side >> 1);

const update = frame, drawing = () => context.getImageData(0, 0, columns, rows), keep = () => past.push(drawing());
const copy = (canvas, k) => paint(canvas, facts.source, pictures.slice(k * depth * area, (k + 1) * depth * area));

/** The drawing's pixels: (channels, height, width). */
function pixels() {
  const { data } = drawing(), grey = (k) => 0.299 * data[k] + 0.587 * data[k + 1] + 0.114 * data[k + 2];
  const level = (_, i) => depth === 1 ? grey(4 * i) : data[4 * (i % area) + Math.floor(i / area)];
  return Uint8ClampedArray.from({ length: depth * area }, level);
}

async function render() {
  at("cursor").style.margin = `${100 * spot[1] / columns}% 0 0 ${100 * spot[0] / columns}%`; // both are shares of the width
  const source = Float32Array.from(pixels(), (value) => Math.fround(value / 127.5) - 1);
  paint(at("image"), facts.shape, await draw(codes, [label], source));
}

/** Draws a line from the last spot to another. */
function stroke(to) {
  const from = spot, steps = Math.max(1, ...to.map((end, k) => Math.abs(end - from[k])));
  const side = Number(at("brush").value), ink = at("ink").value;
  context.fillStyle = depth === 1 ? `rgb(${ink} ${ink} ${ink})` : ink;
  for (let step = 0; step <= steps; step++) {
    const middle = from.map((start, k) => Math.round(start + (to[k] - start) * step / steps));
    context.fillRect(...middle.map((one) => one - (side >> 1)), side, side);
  }
  spot = to;
  update();
}

sheet.ontouchstart = (event) => event.preventDefault(); // or a browser takes the next tap for the end of a swipe
sheet.onpointerdown = sheet.onpointermove = (event) => {
  const begins = event.type === "pointerdown"; // a press that began beside the sheet draws nothing
  if (!event.isPrimary || !event.buttons || !(begins || sheet.hasPointerCapture(event.pointerId))) return;
  const to = within(event).map((part, k) => Math.floor(part * sides[k]));
  if (begins) {
    sheet.setPointerCapture(event.pointerId);
    keep();
    spot = to;
  }
  stroke(to);
};
sheet.addEventListener("keydown", (event) => {
  const [k, step] = ARROWS[event.key] ?? [0, 0], to = spot.slice();
  if (!step && event.key !== " ") return;
  event.preventDefault();
  to[k] = Math.max(0, Math.min(sides[k] - 1, to[k] + step));
  if (event.shiftKey || !step) {
    keep();
    return stroke(to);
  }
  spot = to;
  update();
});
document.querySelectorAll("[data-picture]").forEach((button, k) => {
  if (k) copy(button.firstChild, k); // the first one clears
  button.addEventListener("click", () => { keep(); copy(sheet, k); update(); });
});
at("undo").addEventListener("click", () => { context.putImageData(past.pop() ?? drawing(), 0, 0); update(); });
at("file").addEventListener("change", async () => {
  const picture = await createImageBitmap(at("file").files[0]).catch(() => null);
  at("status").textContent = picture ? "" : "This browser cannot read the picture.";
  if (!picture) return;
  const scale = Math.max(columns / picture.width, rows / picture.height);
  const [across, down] = [scale * picture.width, scale * picture.height];
  keep();
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (columns - across) / 2, (rows - down) / 2, across, down);
  paint(sheet, facts.source, pixels());
  update();
});
copy(sheet, 1);
await start();
