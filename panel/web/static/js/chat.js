// The chat with a model: the answer as it is written. Without this file the whole answer comes with a new page.

function bubble(list, role, who) {
  const one = Object.assign(document.createElement("li"), { className: `chat__one chat__one--${role}` });
  const name = Object.assign(document.createElement("p"), { className: "chat__who", textContent: who });
  const text = Object.assign(document.createElement("div"), { className: "chat__text" });
  one.append(name, text);
  list.append(one);
  return { one, text };
}

/** Server-sent events of an answer to a POST, as [name, data]. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const name = /^event: (.*)$/m.exec(part)?.[1];
      const data = /^data: (.*)$/m.exec(part)?.[1];
      if (name && data) yield [name, JSON.parse(data)];
    }
  }
}

function told(one, words, isBad = false) {
  one.append(Object.assign(document.createElement("p"), {
    className: isBad ? "chat__told field__problem" : "chat__told", textContent: words,
  }));
}

function showSnippets(found) {
  for (const [language, text] of Object.entries(found)) {
    const pre = document.querySelector(`[data-snippet="${language}"] pre`);
    if (pre) pre.textContent = text;
  }
}

async function ask(form, list, model, stopping) {
  const message = form.querySelector("[data-message]");
  const history = form.elements.namedItem("history");
  const said = message.value;
  const answer = await fetch(form.dataset.chat, {
    method: "POST", body: new URLSearchParams(new FormData(form)), signal: stopping.signal,
    headers: { Accept: "text/event-stream" },
  });
  bubble(list, "user", "You").text.textContent = said;
  const { one, text } = bubble(list, "assistant", model);
  if (!answer.ok || !answer.body) return told(one, "The panel refused this. Reload the page and try again.", true);
  let whole = "";
  let thought = null;
  let isDone = false;
  message.value = "";
  try {
    for await (const [name, data] of events(answer.body)) {
      const isLow = innerHeight + scrollY > document.documentElement.scrollHeight - 80;
      if (name === "snippets") showSnippets(data);
      if (name === "text") text.textContent = whole += data;
      if (name === "thought") {
        thought ??= text.insertAdjacentElement("beforebegin", Object.assign(document.createElement("div"), {
          className: "chat__text chat__text--thought" }));
        thought.textContent += data;
      }
      if (name === "done") { isDone = true; told(one, data.words); }
      if (name === "error") { isDone = true; told(one, data, true); if (!whole) message.value = said; }
      if (isLow) one.scrollIntoView({ block: "end" });
    }
    if (!isDone) told(one, "The answer broke off. Ask again.", true);
  } finally {
    if (stopping.signal.aborted) told(one, "Stopped.");
    if (whole) history.value = JSON.stringify([...JSON.parse(history.value || "[]"),
      { role: "user", content: said }, { role: "assistant", content: whole }]);
  }
}

export function watchChat() {
  const form = document.querySelector("form[data-chat]");
  if (!form) return;
  const list = form.querySelector(".chat__said");
  const [send, stop] = [form.querySelector("[data-send]"), form.querySelector("[data-stop]")];
  const model = document.querySelector(".crumbs a:last-of-type").textContent;
  let stopping = null;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (stopping) return;
    stopping = new AbortController();
    send.disabled = true;
    stop.hidden = false;
    try {
      await ask(form, list, model, stopping);
    } catch (wrong) {
      if (wrong.name !== "AbortError") told(bubble(list, "assistant", model).one, "The panel does not answer.", true);
    } finally {
      stopping = null;
      send.disabled = false;
      stop.hidden = true;
      form.querySelector("[data-message]").focus();
    }
  });
  stop.addEventListener("click", () => stopping?.abort());
  form.querySelector("[data-message]").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
}
