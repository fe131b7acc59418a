// Small comforts of forms. Without this file everything still works, with a round trip more.

let made = 0;

function addRow(button) {
  const field = button.closest("[data-rows]");
  const row = field.querySelector("template").content.cloneNode(true);
  // A number that no row has: the server takes rows in the order of their numbers.
  const number = 10000 + made++;
  for (const input of row.querySelectorAll("[name]")) {
    input.name = input.name.replace("-__-", `-${number}-`);
    if (input.value.includes(":__")) input.value = input.value.replace(":__", `:${number}`);
  }
  const first = row.querySelector("input:not([type=hidden])");
  field.querySelector(".rows").append(row);
  first.focus();
}

function removeRow(button) {
  const row = button.closest(".rows__row");
  const near = (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("input:not([type=hidden])");
  const add = row.closest("[data-rows]").querySelector("[data-add-row]");
  row.remove();
  (near ?? add).focus();
}

async function copy(button) {
  const text = button.closest(".copy").querySelector("pre").textContent;
  await navigator.clipboard.writeText(text);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1600);
}

/** Fill in the fields that a preset decides, from its own page; what else was typed stays. */
async function fillIn(link) {
  const answer = await fetch(link.href, { headers: { Accept: "text/html" }, redirect: "error" });
  if (!answer.ok) throw new Error(String(answer.status));
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const old = document.getElementById("presets");
  for (const name of old.dataset.presets.split(" ")) {
    const to = document.getElementsByName(name), from = fresh.getElementsByName(name);
    for (let place = 0; place < to.length; place++) {
      if (to[place].type === "radio") to[place].checked = from[place].checked;
      else to[place].value = from[place].value;
    }
  }
  old.replaceWith(fresh.getElementById("presets"));
  document.querySelector("#presets [aria-current]").focus();
}

export function watchForms(page) {
  page.addEventListener("click", (event) => {
    const preset = event.target.closest?.("[data-preset]");
    if (!preset || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    fillIn(preset).catch(() => { location.href = preset.href; });
  });
  page.addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (!button) return;
    if (button.hasAttribute("data-copy")) copy(button).catch(() => { button.textContent = "Select it by hand"; });
    if (button.hasAttribute("data-add-row")) { event.preventDefault(); addRow(button); }
    if (button.hasAttribute("data-remove-row")) { event.preventDefault(); removeRow(button); }
  });
  page.addEventListener("change", (event) => {
    if (event.target.matches?.("[data-submit]")) event.target.form.requestSubmit();
  });
  // A form is sent once, however often its button is pressed.
  page.addEventListener("submit", (event) => {
    if (event.target.dataset.sent) { event.preventDefault(); return; }
    if (event.target.method === "post") event.target.dataset.sent = "yes";
  });
  addEventListener("pageshow", () => page.querySelectorAll("[data-sent]").forEach((one) => delete one.dataset.sent));
  const first = page.querySelector('[aria-invalid="true"]');
  if (first) {
    first.closest("details")?.setAttribute("open", "");
    first.focus();
  }
}
