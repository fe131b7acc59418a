// A run as it happens. Steps come as HTML that the server drew; here they are put in their place, and clocks go on.
import { fetchPage, replaceRegion } from "./rows.js";

const AGAIN = 5000;

export function watchRun() {
  const root = document.getElementById("run");
  if (root?.dataset.run) new LiveRun(root).begin();
}

const seconds = (value) => {
  if (value < 9.95) return `${Math.max(value, 0).toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60), rest = whole % 60;
  if (minutes < 60) return rest ? `${minutes} min ${rest} s` : `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
};

class LiveRun {
  constructor(root) {
    this.root = root;
    this.steps = document.getElementById("steps");
    this.live = document.getElementById("live");
    this.axis = Number(root.dataset.axis);
    this.setElapsed();
  }

  begin() {
    this.say("running", "Connecting");
    this.connect(this.root.dataset.after);
    this.clock = setInterval(() => this.tick(), 250);
    if (this.root.dataset.state === "queued") this.queue = setInterval(() => this.catchUp().catch(() => {}), 2000);
    addEventListener("pagehide", () => this.source?.close());
    addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  }

  connect(after) {
    const source = this.source = new EventSource(`${this.root.dataset.run}?after=${after}`);
    source.addEventListener("open", () => this.say("ok", "Live"));
    source.addEventListener("step", (event) => { this.lastId = event.lastEventId; this.place(event.data); });
    source.addEventListener("head", (event) => { this.region("run-lead", event.data); this.setElapsed(); });
    source.addEventListener("tally", (event) => this.region("run-tally", event.data));
    source.addEventListener("columns", (event) => this.region("grid-columns", event.data));
    source.addEventListener("row", (event) => this.row(event.data));
    source.addEventListener("end", () => this.end());
    source.addEventListener("error", () => {
      this.say("changed", "Not live. Trying again");
      // The browser tries again by itself unless it was refused; then the page is fetched until it may.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.resume(), AGAIN);
    });
  }

  async resume() {
    try {
      const page = await this.catchUp();
      if (page.getElementById("run").dataset.run) this.connect(page.getElementById("run").dataset.after);
    } catch (wrong) {
      this.say("changed", `Not live. ${wrong.message}`);
      setTimeout(() => this.resume(), AGAIN);
    }
  }

  say(tone, word) {
    this.live.hidden = false;
    if (this.live.dataset.word === word) return;
    this.live.dataset.word = word;
    const state = Object.assign(document.createElement("span"), { className: `state state--${tone}`, textContent: word });
    this.live.replaceChildren(state);
  }

  region(id, html) {
    const box = document.createElement("template");
    box.innerHTML = html;
    document.getElementById(id)?.replaceChildren(box.content);
  }

  place(html) {
    const box = document.createElement("template");
    box.innerHTML = html;
    const fresh = box.content.querySelector("li");
    const old = document.getElementById(fresh.id);
    if (this.queue) this.begun();
    if (old) {
      const isOpen = old.querySelector("details")?.open;
      if (isOpen) fresh.querySelector("details")?.setAttribute("open", "");
      const hadFocus = old.contains(document.activeElement);
      old.replaceWith(fresh);
      if (hadFocus) fresh.querySelector("summary")?.focus();
    } else {
      this.arrive(fresh);
    }
    this.draw();
  }

  /** A row of the grid: in place of its older form, else behind the one that it follows. */
  row(html) {
    const rows = document.getElementById("grid-rows");
    if (!rows) return;
    const box = document.createElement("template");
    box.innerHTML = html;
    const fresh = box.content.querySelector("tr");
    const old = document.getElementById(fresh.id);
    const hadFocus = old?.contains(document.activeElement) && document.activeElement.getAttribute("href");
    const before = fresh.dataset.after && document.getElementById(fresh.dataset.after);
    if (old) old.replaceWith(fresh);
    else if (before) before.after(fresh);
    else if (fresh.dataset.after) rows.append(fresh);
    else rows.prepend(fresh);
    if (hadFocus) fresh.querySelector(`a[href="${CSS.escape(hadFocus)}"]`)?.focus();
  }

  /** A new step takes the place of the one that was expected; what was passed over did not come. */
  arrive(fresh) {
    fresh.classList.add("step--new");
    const ahead = [...this.steps.querySelectorAll(".step--next")];
    const place = ahead.findIndex((one) => one.dataset.name === fresh.dataset.name && one.dataset.role === fresh.dataset.role);
    ahead.slice(0, place + 1).forEach((one) => one.remove());
    const next = this.steps.querySelector(".step--next");
    const wasAtEnd = scrollY > 0 && scrollY + innerHeight > document.documentElement.scrollHeight - 80;
    this.steps.insertBefore(fresh, next);
    document.getElementById("run-empty")?.replaceChildren();
    if (wasAtEnd) scrollTo({ top: document.documentElement.scrollHeight });
  }

  begun() {
    clearInterval(this.queue);
    this.queue = null;
    this.catchUp(false).catch(() => {});
  }

  /** Everything but the steps, or everything, from the page as it is now. */
  async catchUp(alsoSteps = true) {
    const page = await fetchPage();
    for (const region of this.root.querySelectorAll("[data-region]")) replaceRegion(region, page.getElementById(region.id));
    document.title = page.title;
    if (alsoSteps) this.takeSteps(page);
    this.setElapsed();
    return page;
  }

  takeSteps(page) {
    const fresh = page.getElementById("steps");
    for (const step of fresh.querySelectorAll("li[id]")) {
      const old = document.getElementById(step.id);
      if (old?.querySelector("details")?.open) step.querySelector("details")?.setAttribute("open", "");
    }
    replaceRegion(this.steps, fresh);
  }

  async end() {
    this.source.close();
    clearInterval(this.clock);
    clearInterval(this.queue);
    try {
      await this.catchUp();
      this.live.hidden = true;
    } catch {
      this.say("changed", "It has ended. Reload to see how.");
    }
  }

  setElapsed() {
    const shown = document.getElementById("elapsed");
    this.from = shown ? performance.now() - Number(shown.dataset.elapsed) * 1000 : null;
  }

  tick() {
    const shown = document.getElementById("elapsed");
    if (!shown || this.from === null) return;
    const now = (performance.now() - this.from) / 1000;
    shown.textContent = seconds(now);
    for (const step of this.steps.querySelectorAll(".step--running[data-offset]")) {
      const took = now - Number(step.dataset.offset);
      step.querySelector(".step__time").textContent = seconds(took);
      step.querySelector("line")?.setAttribute("x2", now.toFixed(2));
    }
    if (now > this.axis) { this.axis = now * 1.1; this.draw(); }
  }

  draw() {
    for (const bar of this.steps.querySelectorAll("svg.step__bar")) bar.setAttribute("viewBox", `0 0 ${this.axis.toFixed(2)} 6`);
  }
}
