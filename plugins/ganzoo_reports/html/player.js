// Steps through frames with a slider and a button, which plays all of them in so many seconds at most; draw(index) shows
// one. Returns a function that draws the current frame again. When frames were added, it is called again, and stays at
// the frame that the reader chose, if any.
let timer = null;
const player = (captions, draw, seconds) => {
  const [play, step, stage] = document.querySelector(".scrubber").children, last = captions.length - 1;
  const chosen = step.oninput && step.value !== step.max ? Number(step.value) : last;

  const show = (index) => {
    draw(index);
    step.value = index;
    step.setAttribute("aria-valuetext", captions[index]);
    stage.textContent = captions[index];
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    stage.removeAttribute("aria-live");
  };
  const advance = () => {
    const next = Number(step.value) + 1;
    if (next <= last) show(next);
    if (next >= last) stop();
  };

  step.max = last;
  step.oninput = () => { stop(); show(Number(step.value)); };
  play.onclick = () => {
    if (timer !== null) return stop();
    if (Number(step.value) >= last) show(0);
    play.textContent = "Pause";
    stage.setAttribute("aria-live", "off");  // or every frame is read aloud
    timer = setInterval(advance, Math.min(600, 1000 * seconds / captions.length));
  };
  document.documentElement.classList.add("live");
  stop();
  show(chosen);
  return () => show(Number(step.value));
};
