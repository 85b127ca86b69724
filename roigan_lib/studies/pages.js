// Search over headings, dark and light, figures that enlarge: a page reads well without any of it.
const root = document.documentElement;
document.querySelector(".theme").onclick = () => {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch (e) {}
};

const box = document.querySelector(".search input"), found = document.querySelector(".search ul");
box.oninput = () => {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = words.length ? HEADINGS.filter(h => words.every(w => (h[1] + " " + h[2]).toLowerCase().includes(w))) : [];
  found.replaceChildren(...fits.slice(0, 12).map(([link, text, page]) => {
    const item = document.createElement("li"), a = document.createElement("a"), soft = document.createElement("small");
    a.href = link; a.textContent = text; soft.textContent = " " + page;
    a.append(soft); item.append(a); return item;
  }));
  if (words.length && !fits.length) found.innerHTML = "<li>no heading has these words</li>";
  found.hidden = !words.length;
};
box.onkeydown = event => {
  if (event.key === "Escape") { box.value = ""; found.hidden = true; }
  if (event.key === "Enter") found.querySelector("a")?.click();
};
document.onkeydown = event => {
  if (event.key === "/" && !/INPUT|TEXTAREA/.test(document.activeElement.tagName)) { event.preventDefault(); box.focus(); }
};
found.onclick = () => { found.hidden = true; };

const dialog = document.querySelector("dialog"), large = dialog.querySelector("img");
const enlarge = image => { large.src = image.src; large.alt = image.alt; dialog.showModal(); };
for (const image of document.querySelectorAll("main .cell img")) {
  if (image.closest("a")) continue;
  image.tabIndex = 0;
  image.setAttribute("role", "button");
  image.onclick = () => enlarge(image);
  image.onkeydown = event => { if (event.key === "Enter") enlarge(image); };
}
dialog.onclick = () => dialog.close();

// the map shows the present page, however long it is
const aside = document.querySelector("aside"), current = aside.querySelector("[aria-current]");
if (current) aside.scrollTop = current.offsetTop - aside.clientHeight / 2;
if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
