// Takes the parts of a page that change from the same page, asked for again. Without it, everything works but that.
"use strict";

(() => {
  const EVERY = 10_000;
  const parts = document.querySelectorAll("[data-refresh]");
  if (parts.length === 0) {
    return;
  }
  const button = document.createElement("button");
  button.type = "button";
  button.className = "refresh";
  let isOn = true;

  const tell = () => {
    button.textContent = isOn ? "Stop refreshing" : "Refresh again";
  };

  const refresh = async () => {
    if (!isOn || document.hidden) {
      return;
    }
    let answer;
    try {
      answer = await fetch(location.href, { headers: { "X-Refresh": "1" } });
    } catch {
      isOn = false;
      button.textContent = "The console has ended";
      button.disabled = true;
      return;
    }
    if (!answer.ok) {
      return;
    }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of parts) {
      const other = fresh.getElementById(part.id);
      // What somebody is reading by keyboard, or has selected, stays.
      const isInUse = part.contains(document.activeElement) || !getSelection().isCollapsed;
      if (other && !isInUse) {
        part.replaceChildren(...other.childNodes);
      }
    }
  };

  button.addEventListener("click", () => {
    isOn = !isOn;
    tell();
  });
  tell();
  document.querySelector(".stack").append(button);
  setInterval(refresh, EVERY);
})();
