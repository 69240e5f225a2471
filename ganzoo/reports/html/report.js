"use strict";
(() => {
  const frames = [...document.querySelectorAll(".frames li")];
  const step = document.getElementById("step");
  if (!step) return;
  const play = document.getElementById("play");
  const stage = document.getElementById("stage");
  const captions = frames.map((frame) => frame.querySelector("figcaption").textContent);
  let timer = null;

  const show = (index) => {
    frames.forEach((frame, i) => frame.classList.toggle("current", i === index));
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
    if (next < frames.length) show(next);
    if (next >= frames.length - 1) stop();
  };

  step.addEventListener("input", () => { stop(); show(Number(step.value)); });
  play.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (Number(step.value) >= frames.length - 1) show(0);
    play.textContent = "Pause";
    stage.setAttribute("aria-live", "off");  // or every frame is read aloud
    // Play the whole run in six seconds at most.
    timer = setInterval(advance, Math.min(600, 6000 / frames.length));
  });
  document.documentElement.classList.add("live");
  show(frames.length - 1);
})();
