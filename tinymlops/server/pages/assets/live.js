// An open page asks for itself again when the workspace has changed, and takes over the parts that move.
const address = document.currentScript?.dataset.live ?? document.querySelector("script[data-live]").dataset.live;
let asking = false;

async function renew() {
  if (asking || document.hidden) return;
  asking = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-moves]")) {
      const other = fresh.getElementById(part.id);
      if (!other || other.innerHTML === part.innerHTML || part.contains(document.activeElement)) continue;
      part.replaceWith(document.adoptNode(other));
      other.classList.add("changed");
    }
  } finally {
    asking = false;
  }
}

const stream = new EventSource(address);
stream.addEventListener("changed", renew);
document.addEventListener("visibilitychange", () => document.hidden || renew());
addEventListener("pagehide", () => stream.close());
