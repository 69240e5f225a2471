"use strict";
const showReplay = () => {
  const root = document.getElementById("replay");
  if (!root) return;
  const data = JSON.parse(root.dataset.replay);
  const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  // Points are pairs of 16-bit numbers, 0 being -1 and 65535 being 1.
  const points = (text) => Array.from(new Uint16Array(bytes(text).buffer), (one) => one / 65535);
  const frames = data.frames.map((frame) => ({
    ...frame, samples: points(frame.samples), field: frame.field && bytes(frame.field),
  }));
  const real = points(data.real), modes = points(data.modes);
  const plane = document.getElementById("plane"), losses = document.getElementById("plane-losses");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const mixed = (a, b, share) => a.map((one, index) => Math.round(one + (b[index] - one) * share));

  const drawField = (context, field, size) => {
    const paper = channels(colour("--paper")), low = channels(colour("--series-2")), high = channels(colour("--series-1"));
    const k = Math.round(Math.sqrt(field.length)), small = document.createElement("canvas");
    small.width = small.height = k;
    const image = new ImageData(k, k);
    field.forEach((value, index) => {
      const t = (value - 127.5) / 127.5;
      image.data.set([...mixed(paper, t < 0 ? low : high, Math.abs(t) * 0.6), 255], 4 * index);
    });
    small.getContext("2d").putImageData(image, 0, 0);
    context.imageSmoothingEnabled = true;
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
  const drawLosses = (images) => {
    losses.width = 2 * losses.clientWidth;  // clears it, and keeps its text as large as the page's
    const context = losses.getContext("2d"), { width, height } = losses, left = 90, top = 50, bottom = height - 30;
    const values = data.losses.flatMap((line) => line.y), last = frames[frames.length - 1].images;
    if (!values.length) return;
    const least = Math.min(...values), most = Math.max(...values), span = most - least || 1;
    const across = (x) => left + (width - left - 10) * x / last, up = (y) => bottom - (bottom - top) * (y - least) / span;
    context.font = "24px system-ui, sans-serif";
    context.lineWidth = 1;
    context.strokeStyle = colour("--rule");
    context.fillStyle = colour("--ink-soft");
    context.textAlign = "right";
    for (const y of [least, most]) {
      context.beginPath(); context.moveTo(left, up(y)); context.lineTo(width - 10, up(y)); context.stroke();
      context.fillText(Math.abs(y) < 1000 ? y.toFixed(2) : y.toExponential(1), left - 8, up(y) + 7);
    }
    context.textAlign = "left";
    let begin = left;
    data.losses.forEach((line, index) => {
      context.strokeStyle = context.fillStyle = colour(`--series-${index % 6 + 1}`);
      context.lineWidth = 3;
      context.beginPath();
      line.x.forEach((x, at) => context[at ? "lineTo" : "moveTo"](across(x), up(line.y[at])));
      context.stroke();
      const name = `loss of ${line.name}`;
      context.fillText(name, begin, 26);
      begin += context.measureText(name).width + 30;
    });
    context.strokeStyle = colour("--ink");
    context.lineWidth = 1.5;
    context.beginPath(); context.moveTo(across(images), top - 10); context.lineTo(across(images), bottom); context.stroke();
  };
  const field = frames.some((frame) => frame.field);
  document.getElementById("plane-legend").textContent = `Dots: ${frames[0].samples.length / 2} samples, from `
    + `the same codes each time. Green: real points${modes.length ? ", with their modes ringed" : ""}.`
    + (field ? " Shading: the discriminator’s output, from low (orange: judged fake) to high (blue: judged real), "
      + "rescaled at each moment." : "");
  const captions = frames.map((frame) => `After ${frame.images.toLocaleString("en")} points`);
  const draw = (index) => { drawPlane(frames[index]); drawLosses(frames[index].images); };
  const drawAgain = player(root.querySelector(".scrubber"), captions, draw, 8);
  theme.onchange = drawAgain;  // instead of that of an earlier replay
};
const theme = matchMedia("(prefers-color-scheme: dark)");
showReplay();
