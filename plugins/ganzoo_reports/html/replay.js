const showReplay = () => {
  const plane = document.getElementById("plane");
  if (!plane) return;
  const data = JSON.parse(plane.dataset.replay), context = plane.getContext("2d"), size = plane.width;
  const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  // Points are pairs of 16-bit numbers, 0 being -1 and 65535 being 1.
  const points = (text) => Array.from(new Uint16Array(bytes(text).buffer), (one) => one / 65535);
  const real = points(data.real), modes = points(data.modes);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const shade = (field) => {
    const k = Math.round(Math.sqrt(field.length)), small = document.createElement("canvas");
    small.width = small.height = k;
    const cells = small.getContext("2d"), low = colour("--series-2"), high = colour("--series-1");
    field.forEach((value, index) => {
      const t = (value - 127.5) / 127.5;
      cells.fillStyle = t < 0 ? low : high;
      cells.globalAlpha = Math.abs(t) * 0.6;
      cells.fillRect(index % k, Math.floor(index / k), 1, 1);
    });
    context.drawImage(small, 0, 0, size, size);
  };
  const place = (list, mark) => {
    for (let at = 0; at < list.length; at += 2) mark(list[at] * size, (1 - list[at + 1]) * size);
  };
  const captions = data.frames.map((frame) => `After ${frame.images.toLocaleString("en")} points`);
  const lines = document.querySelectorAll("[id$=moments] path");
  const draw = (index) => {
    const { samples, field } = data.frames[index];
    context.fillStyle = colour("--paper");
    context.fillRect(0, 0, size, size);
    if (field) shade(bytes(field));
    context.fillStyle = colour("--series-3");
    place(real, (x, y) => context.fillRect(x - 1, y - 1, 2, 2));
    context.strokeStyle = colour("--series-3");
    context.lineWidth = 2.5;
    place(modes, (x, y) => { context.beginPath(); context.arc(x, y, 18, 0, 7); context.stroke(); });
    context.fillStyle = colour("--ink");
    place(points(samples), (x, y) => { context.beginPath(); context.arc(x, y, 3.2, 0, 7); context.fill(); });
    lines.forEach((line, at) => { line.style.visibility = at === index ? "visible" : "hidden"; });
  };
  theme.onchange = player(captions, draw, 8);  // instead of that of an earlier replay
};
const theme = matchMedia("(prefers-color-scheme: dark)");
showReplay();
