// The journal of a resource, live; always as text. What is read stays where it is unless the end was in sight.

const MOST = 2000;

function follow(box, state) {
  const source = new EventSource(box.dataset.journal);
  let isFirst = true;
  const tell = (words) => { if (state) state.textContent = words; };
  source.addEventListener("open", () => {
    // A new connection begins with the last lines again.
    isFirst = true;
    tell("Live.");
  });
  source.addEventListener("message", (event) => {
    const atEnd = box.scrollTop + box.clientHeight > box.scrollHeight - 40;
    if (isFirst) { box.replaceChildren(); isFirst = false; }
    box.append(document.createTextNode(JSON.parse(event.data) + "\n"));
    while (box.childNodes.length > MOST) box.firstChild.remove();
    if (atEnd) box.scrollTop = box.scrollHeight;
  });
  source.addEventListener("end", (event) => { source.close(); tell(JSON.parse(event.data)); });
  source.addEventListener("error", () => {
    tell(source.readyState === EventSource.CLOSED ? "Not live. Reload to try again." : "Not live. Trying again.");
  });
  addEventListener("pagehide", () => source.close());
}

/** On a resource's page the journal opens in place, when somebody asks for it. */
function openInPlace(link) {
  const section = Object.assign(document.createElement("section"), { className: "section" });
  const head = Object.assign(document.createElement("div"), { className: "section__head" });
  const state = Object.assign(document.createElement("span"), { className: "quiet", role: "status" });
  const box = Object.assign(document.createElement("pre"), { className: "journal", tabIndex: 0 });
  box.dataset.journal = `${link.getAttribute("href")}/stream`;
  box.setAttribute("aria-label", "Journal");
  head.append(Object.assign(document.createElement("h2"), { textContent: "Journal" }), state);
  section.append(head, box);
  document.querySelector(".columns__first").prepend(section);
  state.textContent = "Connecting.";
  follow(box, state);
  section.scrollIntoView({ block: "nearest" });
  box.focus();
}

export function watchJournal() {
  const box = document.querySelector("pre[data-journal]");
  if (box) {
    box.scrollTop = box.scrollHeight;
    follow(box, document.querySelector("[data-journal-state]"));
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("[data-open-journal]");
    if (!link || event.ctrlKey || event.metaKey || document.querySelector("pre.journal")) return;
    event.preventDefault();
    openInPlace(link);
  });
}
