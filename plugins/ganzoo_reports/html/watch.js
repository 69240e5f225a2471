"use strict";
// Follows a training: asks for this page again, and replaces what has changed in it.
(() => {
  let before = document.body.cloneNode(true), version = null;

  // Of elements that only hold others, the changed ones are replaced, so that the rest keeps its place, focus and state.
  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  const isBox = (element) => element.children.length && !element.matches(".grids, svg") && !hasText(element);
  const replace = (shown, old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    const alike = old.nodeName === fresh.nodeName && old.children.length === fresh.children.length;
    if (!alike || !isBox(old) || !isBox(fresh)) return shown.replaceWith(document.importNode(fresh, true));
    [...fresh.children].forEach((one, index) => replace(shown.children[index], old.children[index], one));
  };
  const show = (fresh) => {
    const script = (root) => root.querySelector("script").textContent;
    if (script(fresh) !== script(before)) return location.reload();  // the run has begun
    const grids = document.querySelector(".grids"), step = document.querySelector(".scrubber input");
    const at = step && step.value !== step.max ? step.value : null, focused = step && step === document.activeElement;
    replace(document.body, before, fresh);
    before = fresh;
    if (!grids || grids.isConnected) return;
    showFrames();
    showReplay();
    const again = document.querySelector(".scrubber input");
    if (again && focused) again.focus();
    if (again && at !== null) {
      again.value = at;
      again.dispatchEvent(new Event("input"));
    }
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
})();
