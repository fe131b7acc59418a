// Find anything: Ctrl K, type, Enter. The index is made by the server; without this the link leads to a page.

const MOST = 12;

class Palette {
  constructor(opener) {
    this.opener = opener;
    this.dialog = document.createElement("dialog");
    this.dialog.className = "palette";
    this.dialog.setAttribute("aria-label", "Find anything");
    this.dialog.innerHTML = '<input type="text" role="combobox" aria-expanded="true" aria-controls="found" aria-autocomplete="list" aria-label="Find anything" placeholder="A resource, a server, a page" autocomplete="off" spellcheck="false"><ul id="found" role="listbox" aria-label="Found"></ul><p hidden>Nothing is named like that.</p>';
    [this.input, this.list, this.none] = this.dialog.children;
    document.body.append(this.dialog);
    this.input.addEventListener("input", () => this.show());
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
      const item = event.target.closest("li");
      if (item) this.go(item, event);
    });
  }

  async open() {
    if (this.dialog.open) return;
    this.entries ??= [];
    this.input.value = "";
    this.dialog.showModal();
    this.show();
    const answer = await fetch(this.opener.dataset.find);
    if (!answer.ok) { location.href = this.opener.href; return; }
    this.entries = await answer.json();
    this.show();
  }

  show() {
    const words = this.input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.entries
      .map((entry) => ({ entry, rank: rank(entry, words) }))
      .filter((one) => one.rank > 0)
      .sort((a, b) => b.rank - a.rank)
      .slice(0, MOST);
    this.list.replaceChildren(...found.map(({ entry }, place) => item(entry, place)));
    this.none.hidden = found.length > 0 || !this.entries.length;
    this.choose(0);
  }

  choose(place) {
    const items = [...this.list.children];
    this.chosen = Math.max(0, Math.min(place, items.length - 1));
    items.forEach((one, at) => one.setAttribute("aria-selected", String(at === this.chosen)));
    const now = items[this.chosen];
    this.input.setAttribute("aria-activedescendant", now?.id ?? "");
    now?.scrollIntoView({ block: "nearest" });
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) { event.preventDefault(); this.choose(this.chosen + step); }
    if (event.key === "Enter" && this.list.children[this.chosen]) this.go(this.list.children[this.chosen], event);
  }

  go(item, event) {
    if (event.ctrlKey || event.metaKey) window.open(item.dataset.url, "_blank", "noopener");
    else location.href = item.dataset.url;
  }
}

/** Every word must be there; the beginning of the name counts most. */
function rank({ label, what }, words) {
  const name = label.toLowerCase(), all = `${name} ${what.toLowerCase()}`;
  if (!words.every((word) => all.includes(word))) return 0;
  return words.reduce((sum, word) => sum + (name.startsWith(word) ? 3 : name.includes(word) ? 2 : 1), 1);
}

function item(entry, place) {
  const row = document.createElement("li");
  row.id = `found-${place}`;
  row.role = "option";
  row.dataset.url = entry.url;
  row.append(Object.assign(document.createElement("span"), { textContent: entry.label }),
             Object.assign(document.createElement("small"), { textContent: entry.what }));
  return row;
}

export function offerPalette() {
  const opener = document.querySelector("[data-find]");
  if (!opener) return;
  const palette = new Palette(opener);
  opener.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    palette.open();
  });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); palette.open(); }
  });
}
