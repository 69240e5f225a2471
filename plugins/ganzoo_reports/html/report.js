"use strict";
const showFrames = () => {
  const step = document.getElementById("step");
  if (!step) return;
  const frames = [...document.querySelectorAll(".frames li")];
  const captions = frames.map((frame) => frame.querySelector("figcaption").textContent);
  const draw = (index) => frames.forEach((frame, i) => frame.classList.toggle("current", i === index));
  player(step.parentElement, captions, draw, 6);
};
showFrames();
