const showFrames = () => {
  const frames = [...document.querySelectorAll(".frames li")];
  if (!frames.length) return;
  const captions = frames.map((frame) => frame.querySelector("figcaption").textContent);
  const draw = (index) => frames.forEach((frame, i) => {
    frame.classList.toggle("current", i === index);
    if (i !== index) frame.querySelector("audio, video")?.pause();
  });
  player(captions, draw, 6);
};
showFrames();
