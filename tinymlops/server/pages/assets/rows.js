// A table of runs: rows come as they are scrolled to and change as runs go on. What is chosen stays chosen, and nothing
// moves under a pointer, a focus or a selection, nor while one looks further down: then a button says what is new.
const box = document.querySelector("[data-rows]");
const stream = new EventSource(document.querySelector("script[data-live]").dataset.live);
addEventListener("pagehide", () => stream.close());
box ? list() : wait();

function wait() {
  stream.addEventListener("changed", async () => {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    const came = answer.ok && (await answer.text()).includes("data-rows=");
    if (came && document.activeElement === document.body) location.reload();
  });
}

function list() {
  const table = box.querySelector("table"), body = table.tBodies[0], form = document.getElementById("compare");
  const [said, news, found] = ["chosen", "news", "found"].map((one) => document.querySelector(`[data-${one}]`));
  const size = Number(box.dataset.size), first = Number(box.dataset.first);
  const chosen = new Set(), pages = new Map([[first / size, { rows: [...body.rows] }]]);
  const gaps = [gap(), gap()];
  let total = Number(box.dataset.total), height = 0, shown = String(first / size), held = false, asking = false, last = 0, later = 0;

  const idOf = (row) => row.querySelector("input").value;
  const isLong = () => total > size;

  box.addEventListener("change", ({ target }) => {
    if (target.name !== "run") return;
    target.checked ? chosen.add(target.value) : chosen.delete(target.value);
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

  async function load(page) {
    const address = new URL(box.dataset.rows, location.href);
    address.searchParams.set("first", page * size);
    const answer = await fetch(address);
    if (!answer.ok || answer.redirected) throw new Error(answer.statusText);
    const part = document.createElement("table");
    part.innerHTML = await answer.text();
    const { total, said } = part.tBodies[0].dataset;
    return { rows: [...part.tBodies[0].rows], total: Number(total), said };
  }

  function wanted() {
    if (!isLong()) return [0];
    const top = Math.max(0, Math.floor(box.scrollTop / height) - 20);
    const last = Math.min(total - 1, Math.ceil((box.scrollTop + box.clientHeight) / height) + 20);
    const found = [];
    for (let page = Math.floor(top / size); page <= Math.floor(last / size); page++) found.push(page);
    return found;
  }

  async function draw() {
    const here = wanted();
    if (here.join() === shown) return;
    try {
      for (const page of here) if (!pages.has(page)) pages.set(page, await load(page));
    } catch {
      box.classList.remove("virtual");
      return;
    }
    for (const page of pages.keys()) if (pages.size > 30 && !here.includes(page)) pages.delete(page);
    if (wanted().join() === here.join()) place(here);
  }

  function place(here) {
    const rows = here.flatMap((page) => pages.get(page).rows), kept = document.activeElement;
    const before = here[0] * size;
    gaps[0].firstChild.style.height = `${before * height}px`;
    gaps[1].firstChild.style.height = `${Math.max(0, total - before - rows.length) * height}px`;
    shown = here.join();
    box.classList.toggle("virtual", isLong());
    document.querySelector(".pager")?.toggleAttribute("hidden", isLong());
    const all = isLong() ? [gaps[0], ...rows, gaps[1]] : rows;
    for (const row of rows) row.querySelector("input").checked = chosen.has(idOf(row));
    if (all.length !== body.children.length || all.some((row, at) => row !== body.children[at])) body.replaceChildren(...all);
    if (body.contains(kept)) kept.focus({ preventScroll: true });
  }

  // Takes over what changed in a row, and leaves a cell alone that somebody is in.
  function patch(row, fresh) {
    [...fresh.cells].forEach((cell, at) => {
      const own = row.cells[at], selection = getSelection();
      const isUsed = own.contains(document.activeElement) || (!selection.isCollapsed && selection.containsNode(own, true));
      if (at && own.innerHTML !== cell.innerHTML && !isUsed) own.innerHTML = cell.innerHTML;
    });
    return row;
  }

  const isFree = () =>
    !box.scrollTop && box.getBoundingClientRect().top >= 0 && !box.matches(":hover") &&
    !box.contains(document.activeElement) && getSelection().isCollapsed;

  async function renew(asked) {
    if (document.hidden) return;
    clearTimeout(later);
    if (asking || (asked !== true && Date.now() - last < 2000)) return void (later = setTimeout(renew, 2000, asked));
    asking = true;
    try {
      const here = wanted(), parts = await Promise.all(here.map(load));
      const old = new Map([...body.rows].filter((row) => row.cells.length > 1).map((row) => [idOf(row), row]));
      const fresh = parts.flatMap((part) => part.rows);
      const ids = [...old.keys()];
      const isSame = parts[0].total === total && fresh.length === ids.length && fresh.every((row, at) => idOf(row) === ids[at]);
      for (const row of fresh) if (old.has(idOf(row))) patch(old.get(idOf(row)), row);
      if (!isSame && (asked === true || isFree())) settle(here, parts, old);
      else if (!isSame) hold(parts[0]);
    } catch {
      // The next change asks again.
    } finally {
      asking = false;
      last = Date.now();
    }
  }

  function hold(part) {
    held = true;
    const more = part.total - total;
    news.textContent = more > 0 ? `Show ${more} new ${more > 1 ? "runs" : "run"}` : "Show the new order";
    news.hidden = false;
  }

  function settle(here, parts, old) {
    const anchor = [...body.rows].find((row) => row.cells.length > 1 && row.offsetTop >= box.scrollTop);
    const from = anchor && Number(anchor.getAttribute("aria-rowindex"));
    pages.clear();
    parts.forEach((part, at) => {
      part.rows = part.rows.map((row) => {
        const own = old.get(idOf(row));
        own ? own.setAttribute("aria-rowindex", row.getAttribute("aria-rowindex")) : row.classList.add("changed");
        return own ?? row;
      });
      pages.set(here[at], part);
    });
    total = parts[0].total;
    found.textContent = parts[0].said;
    table.setAttribute("aria-rowcount", total + 1);
    held = false;
    news.hidden = true;
    place(here);
    if (anchor && box.scrollTop) box.scrollTop += (Number(anchor.getAttribute("aria-rowindex")) - from) * height;
  }

  let waiting = 0;
  box.addEventListener("scroll", () => {
    if (!isLong()) return;
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      draw();
      const at = Math.floor(box.scrollTop / height / size) * size;
      const address = new URL(location.href);
      at ? address.searchParams.set("first", at) : address.searchParams.delete("first");
      history.replaceState(null, "", address);
    }, 40);
  });
  for (const leaving of ["pointerleave", "focusout"]) box.addEventListener(leaving, () => held && setTimeout(renew));
  news.addEventListener("click", () => renew(true));
  stream.addEventListener("changed", renew);
  document.addEventListener("visibilitychange", renew);
  height = body.rows[0].getBoundingClientRect().height;
  if (isLong()) {
    shown = "";
    draw().then(() => (box.scrollTop = first * height));
  }
}

function gap() {
  const row = document.createElement("tr");
  row.className = "gap";
  row.setAttribute("aria-hidden", "true");
  row.append(document.createElement("td"));
  return row;
}
