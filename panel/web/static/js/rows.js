// Regions marked data-refresh are fetched again, quietly: the same page, drawn by the same templates.

const OFTEN = 3000, SELDOM = 15000;

/** This page as it is now, or null where it cannot be had (the message says why). */
export async function fetchPage() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
  if (!answer.ok) throw new Error(answer.status === 401 ? "You were signed out. Reload to sign in." : `The panel answered ${answer.status}.`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

/** Put the fresh form of a region in place of the old one; where nothing changed, nothing is touched. */
export function replaceRegion(old, fresh) {
  if (!fresh || old.innerHTML === fresh.innerHTML) return;
  if (old.contains(document.activeElement) && document.activeElement !== document.body) {
    const id = document.activeElement.getAttribute("href");
    old.replaceChildren(...fresh.childNodes);
    if (id) old.querySelector(`a[href="${CSS.escape(id)}"]`)?.focus();
    return;
  }
  old.replaceChildren(...fresh.childNodes);
}

async function refresh(regions) {
  const page = await fetchPage();
  for (const region of regions) replaceRegion(region, page.getElementById(region.id));
}

export function watchLists() {
  const regions = [...document.querySelectorAll("[data-refresh]")];
  if (!regions.length) return;
  const isBusy = () => Boolean(document.querySelector("[data-refresh] .state--running, .nav .is-live"));
  let timer;
  const next = () => { clearTimeout(timer); timer = setTimeout(turn, isBusy() ? OFTEN : SELDOM); };
  const turn = async () => {
    if (!document.hidden) await refresh(regions).catch(() => {});
    next();
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) turn(); });
  next();
}
