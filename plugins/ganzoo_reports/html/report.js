const showFrames = () => {
  const frames = [...document.querySelectorAll(".frames li")];
  if (!frames.length) return;
  const captions = frames.map((frame) => frame.querySelector("figcaption").textContent);
  const draw = (index) => frames.forEach((frame, i) => {
    frame.classList.toggle("current", i === index);
    const media = frame.querySelector("audio, video");
    if (media && i !== index) media.pause();
  });
  player(document.querySelector(".scrubber"), captions, draw, 6);
};
showFrames();
