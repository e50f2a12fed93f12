// Curves drawn by uPlot: asked for again at the width there is and at each closer look, and walked through by arrow keys.
const looks = 6;
const dashes = [[], [6, 3], [2, 3], [8, 3, 2, 3], [12, 4], [4, 4]];
const format = new Intl.NumberFormat("en", { maximumSignificantDigits: 6, maximumFractionDigits: 2, roundingPriority: "morePrecision" });

for (const figure of document.querySelectorAll("figure[data-curve]")) draw(figure).catch(() => figure.classList.remove("drawn"));

function colour(name) {
  const probe = document.createElement("span");
  probe.className = `probe ${name}`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

// Points that stand in the page are looked through here; all others are asked for.
function within({ x, y, ...one }, range) {
  const kept = x.map((_, i) => i).filter((i) => !(x[i] < range.start) && !(x[i] > range.stop));
  return [{ ...one, place: 0, x: kept.map((i) => x[i]), y: kept.map((i) => y[i]), shown: kept.length }];
}

async function ask(figure, plot, range) {
  if (figure.dataset.points) return within(JSON.parse(figure.dataset.points), range);
  const address = new URL(figure.dataset.curve, location.href);
  address.searchParams.set("pixels", Math.max(100, Math.round(plot.clientWidth)));
  for (const [name, value] of Object.entries(range)) address.searchParams.set(name, value);
  const answer = await fetch(address);
  if (!answer.ok || answer.redirected) throw new Error(answer.statusText);
  // The first have a look of their own: they are drawn last, on top.
  return (await answer.json()).series.map((one, place) => ({ ...one, place })).reverse();
}

async function draw(figure) {
  const plot = figure.querySelector("[data-plot]"), count = figure.querySelector("[data-count]");
  const zooms = figure.closest("[data-zooms]") !== null;
  const said = document.createElement("p");
  said.className = "said small soft";
  said.setAttribute("role", "status");
  const here = new URLSearchParams(location.search);
  let range = {};
  if (zooms) for (const name of ["start", "stop"]) if (here.get(name)) range[name] = here.get(name);
  let series = await ask(figure, plot, range), chart = null;
  const time = series[0].time === true;

  function tell() {
    const shown = series.reduce((sum, one) => sum + one.shown, 0), total = series.reduce((sum, one) => sum + one.total, 0);
    if (count) count.textContent = `${shown.toLocaleString("en")} of ${total.toLocaleString("en")}${zooms || series.length === 1 ? "" : " points"}`;
    plot.setAttribute("aria-label", `${figure.querySelector("figcaption").textContent.trim().replace(/\s+/g, " ")}. Arrow keys walk along it, Escape shows all of it.`);
  }

  function data() {
    return series.length === 1 ? [series[0].x, series[0].y] : uPlot.join(series.map((one) => [one.x, one.y]));
  }

  async function look(next) {
    range = next;
    series = await ask(figure, plot, range);
    chart.setData(data());
    tell();
    if (!zooms) return;
    const address = new URL(location.href);
    for (const name of ["start", "stop"]) name in range ? address.searchParams.set(name, range[name]) : address.searchParams.delete(name);
    address.searchParams.delete("first");
    history.replaceState(null, "", address);
    for (const name of ["start", "stop"]) document.getElementById(name).value = range[name] ?? "";
  }

  function say(at) {
    const [xs, ...ys] = chart.data;
    const values = ys.map((one, i) => (one[at] == null ? "" : `${series.length > 1 ? series[i].name + " " : ""}${format.format(one[at])}`));
    const x = xs[at], along = time ? new Date(x * 1000).toISOString().slice(0, 19).replace("T", " ") : String(x ?? 0);
    said.textContent = at == null ? "" : `${series[0].along ?? "step"} ${along}: ${values.filter(Boolean).join(", ")}`;
  }

  const soft = colour("quiet-text"), line = colour("line-text");
  const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 }, font: "11px system-ui, sans-serif" };
  const height = () => Math.max(180, Math.min(320, plot.clientWidth * 0.35));
  const options = {
    width: plot.clientWidth,
    height: height(),
    legend: { show: false },
    scales: { x: { time } },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    cursor: { points: { size: 6 }, drag: { x: true, y: false, setScale: false } },
    axes: [{ ...axis, size: 28 }, { ...axis, size: 60 }],
    series: [{}, ...series.map((one) => ({ label: one.name, stroke: one.place < looks ? colour(`s${one.place + 1}`) : line, width: 1.5, dash: dashes[one.place] ?? [], spanGaps: series.length > 1, points: { show: one.x.length < 40 } }))],
    hooks: {
      setCursor: [(one) => said.textContent === "" && one.cursor.idx == null ? null : say(one.cursor.idx)],
      setSelect: [(one) => one.select.width > 4 && (look({ start: one.posToVal(one.select.left, "x"), stop: one.posToVal(one.select.left + one.select.width, "x") }), one.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false))],
    },
  };
  plot.replaceChildren();
  chart = new uPlot(options, data(), plot);
  figure.classList.add("drawn");
  figure.append(said);
  plot.tabIndex = 0;
  plot.setAttribute("role", "group");
  tell();

  chart.over.addEventListener("dblclick", () => look({}));
  let at = -1;
  plot.addEventListener("keydown", (event) => {
    const last = chart.data[0].length - 1, step = event.shiftKey ? Math.max(1, Math.round(last / 20)) : 1;
    const moves = { ArrowRight: at + step, ArrowLeft: at - step, Home: 0, End: last };
    if (event.key === "Escape" && ("start" in range || "stop" in range)) return void look({});
    if (!(event.key in moves)) return;
    event.preventDefault();
    at = Math.min(last, Math.max(0, moves[event.key]));
    const value = chart.data.slice(1).map((one) => one[at]).find((one) => one != null);
    chart.setCursor({ left: chart.valToPos(chart.data[0][at], "x"), top: value == null ? 0 : chart.valToPos(value, "y") });
    say(at);
  });
  new ResizeObserver(() => plot.clientWidth && plot.clientWidth !== chart.width && chart.setSize({ width: plot.clientWidth, height: height() })).observe(plot);
}
