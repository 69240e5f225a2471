// Follows a training: asks for this page again, and replaces what has changed in it.
let before = document.body.cloneNode(true), version = null;

// Of elements that only hold others, the changed ones are replaced, so that the rest keeps its place, focus and state.
const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
const isBox = (element) => element.children.length && !element.matches("svg") && !hasText(element);
const replace = (shown, old, fresh) => {
  if (old.isEqualNode(fresh)) return;
  const alike = old.nodeName === fresh.nodeName && old.children.length === fresh.children.length;
  if (!alike || !isBox(old) || !isBox(fresh)) return shown.replaceWith(document.importNode(fresh, true));
  [...fresh.children].forEach((one, index) => replace(shown.children[index], old.children[index], one));
};
const show = (fresh) => {
  const script = (root) => root.querySelector("script").textContent;
  if (script(fresh) !== script(before)) return location.reload();  // the run has begun
  const [old, now] = [before, fresh].map((root) => root.querySelector(".grids"));
  replace(document.body, before, fresh);
  before = fresh;
  if (!old || old.isEqualNode(now)) return;
  showFrames();
  showReplay();
};
const ask = async () => {
  const play = document.querySelector(".scrubber button"), media = [...document.querySelectorAll("audio, video")];
  const playing = (play && play.textContent === "Pause") || media.some((one) => !one.paused);
  const connection = document.getElementById("connection");
  try {
    const answer = document.hidden || playing ? null : await fetch("/", { cache: "no-cache" });
    if (answer && answer.headers.get("ETag") !== version) {
      show(new DOMParser().parseFromString(await answer.text(), "text/html").body);
      version = answer.headers.get("ETag");
    }
    connection.textContent = "";
  } catch {
    connection.textContent = "No answer: ganzoo watch has ended, or the connection is lost. This is what it showed last.";
  }
  setTimeout(ask, 500);
};
ask();
