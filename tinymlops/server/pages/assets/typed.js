// A search that answers as one types: the same page is asked for, and its results take the place of those shown.
for (const form of document.querySelectorAll("form[data-as-typed]")) {
  const field = form.querySelector('input[type="search"]');
  let waiting, asked, shown = field.value;
  const ask = async () => {
    if (field.value === shown) return;
    shown = field.value;
    const address = new URL(form.action);
    if (shown.trim()) address.searchParams.set(field.name, shown);
    asked?.abort();
    asked = new AbortController();
    try {
      const answer = await fetch(address, { headers: { accept: "text/html" }, signal: asked.signal });
      if (!answer.ok || answer.redirected) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const found = fresh.getElementById(form.dataset.asTyped);
      if (!found) return;
      document.getElementById(form.dataset.asTyped).replaceWith(document.adoptNode(found));
      history.replaceState(null, "", address);
    } catch (error) {
      if (error.name !== "AbortError") shown = null;
    }
  };
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(ask, 120);
  });
}
