const showReplay = () => {
  const plane = document.getElementById("plane");
  if (!plane) return;
  const data = JSON.parse(plane.dataset.replay);
  const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  // Points are pairs of 16-bit numbers, 0 being -1 and 65535 being 1.
  const points = (text) => Array.from(new Uint16Array(bytes(text).buffer), (one) => one / 65535);
  const frames = data.frames.map((frame) => ({
    ...frame, samples: points(frame.samples), field: frame.field && bytes(frame.field),
  }));
  const real = points(data.real), modes = points(data.modes);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

  const drawField = (context, field, size) => {
    const [paper, low, high] = ["--paper", "--series-2", "--series-1"].map((name) => channels(colour(name)));
    const k = Math.round(Math.sqrt(field.length)), small = document.createElement("canvas");
    small.width = small.height = k;
    const image = new ImageData(k, k);
    field.forEach((value, index) => {
      const t = (value - 127.5) / 127.5, side = t < 0 ? low : high;
      image.data.set([...paper.map((one, c) => one + (side[c] - one) * Math.abs(t) * 0.6), 255], 4 * index);
    });
    small.getContext("2d").putImageData(image, 0, 0);
    context.drawImage(small, 0, 0, size, size);
  };
  const place = (list, size, draw) => {
    for (let at = 0; at < list.length; at += 2) draw(list[at] * size, (1 - list[at + 1]) * size);
  };
  const drawPlane = (frame) => {
    const context = plane.getContext("2d"), size = plane.width;
    context.fillStyle = colour("--paper");
    context.fillRect(0, 0, size, size);
    if (frame.field) drawField(context, frame.field, size);
    context.fillStyle = colour("--series-3");
    place(real, size, (x, y) => context.fillRect(x - 1, y - 1, 2, 2));
    context.strokeStyle = colour("--series-3");
    context.lineWidth = 2.5;
    place(modes, size, (x, y) => { context.beginPath(); context.arc(x, y, 18, 0, 7); context.stroke(); });
    context.fillStyle = colour("--ink");
    place(frame.samples, size, (x, y) => { context.beginPath(); context.arc(x, y, 3.2, 0, 7); context.fill(); });
  };
  const captions = frames.map((frame) => `After ${frame.images.toLocaleString("en")} points`);
  const lines = document.querySelectorAll("[id$=moments] path");
  const draw = (index) => {
    drawPlane(frames[index]);
    lines.forEach((line, at) => { line.style.visibility = at === index ? "visible" : "hidden"; });
  };
  theme.onchange = player(document.querySelector(".scrubber"), captions, draw, 8);  // instead of that of an earlier replay
};
const theme = matchMedia("(prefers-color-scheme: dark)");
showReplay();
