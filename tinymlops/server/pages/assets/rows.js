// A long table of runs: rows come as they are scrolled to, and those that are chosen stay so.
const box = document.querySelector("[data-rows]");
const form = document.getElementById("compare");
const chosen = new Set();
if (box) {
  const body = box.querySelector("tbody");
  const said = document.querySelector("[data-chosen]");
  box.addEventListener("change", (event) => {
    const one = event.target;
    if (one.name !== "run") return;
    one.checked ? chosen.add(one.value) : chosen.delete(one.value);
    said.textContent = chosen.size ? `${chosen.size} chosen` : "";
  });
  form.addEventListener("submit", () => {
    form.querySelectorAll("input").forEach((one) => one.remove());
    const here = new Set([...body.querySelectorAll("input:checked")].map((one) => one.value));
    for (const value of chosen) {
      if (here.has(value)) continue;
      const one = document.createElement("input");
      Object.assign(one, { type: "hidden", name: "run", value });
      form.append(one);
    }
  });
  const total = Number(box.dataset.total), size = Number(box.dataset.size);
  if (total > size) scrolled(box, body, total, size, Number(box.dataset.first));
}

function scrolled(box, body, total, size, first) {
  const height = body.rows[0].getBoundingClientRect().height;
  const pages = new Map([[first / size, Promise.resolve([...body.rows])]]);
  const gaps = [0, 1].map(() => {
    const row = document.createElement("tr");
    row.className = "gap";
    row.setAttribute("aria-hidden", "true");
    row.append(document.createElement("td"));
    return row;
  });
  let shown = "", failed = false;
  box.classList.add("virtual");
  document.querySelector(".pager")?.setAttribute("hidden", "");

  async function rowsOf(page) {
    if (!pages.has(page)) {
      if (pages.size > 30) pages.delete(pages.keys().next().value);
      pages.set(page, load(page).catch(() => (pages.delete(page), (failed = true), [])));
    }
    return pages.get(page);
  }

  async function load(page) {
    const answer = await fetch(`${box.dataset.rows}&first=${page * size}`);
    if (!answer.ok || answer.redirected) throw new Error(answer.statusText);
    const table = document.createElement("table");
    table.innerHTML = await answer.text();
    return [...table.rows];
  }

  async function show() {
    const top = Math.max(0, Math.floor(box.scrollTop / height) - 20);
    const last = Math.min(total - 1, Math.ceil((box.scrollTop + box.clientHeight) / height) + 20);
    const wanted = [];
    for (let page = Math.floor(top / size); page <= Math.floor(last / size); page++) wanted.push(page);
    if (wanted.join() === shown) return;
    const rows = (await Promise.all(wanted.map(rowsOf))).flat();
    if (failed) return void box.classList.remove("virtual");
    shown = wanted.join();
    const before = wanted[0] * size;
    gaps[0].firstChild.style.height = `${before * height}px`;
    gaps[1].firstChild.style.height = `${Math.max(0, total - before - rows.length) * height}px`;
    const kept = document.activeElement;
    for (const row of rows) for (const one of row.querySelectorAll("input")) one.checked = chosen.has(one.value);
    body.replaceChildren(gaps[0], ...rows, gaps[1]);
    if (body.contains(kept)) kept.focus({ preventScroll: true });
  }

  let waiting = 0;
  box.addEventListener("scroll", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      show();
      const at = Math.floor(box.scrollTop / height / size) * size;
      const address = new URL(location.href);
      at ? address.searchParams.set("first", at) : address.searchParams.delete("first");
      history.replaceState(null, "", address);
    }, 40);
  });
  show().then(() => (box.scrollTop = first * height));
}
