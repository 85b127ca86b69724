// Two points on a photograph: a click moves the nearer one, arrows the chosen one. The model holds them in photo pixels; where
// it says that they are no more than a guess, the first two clicks place one after the other.

export function eyePicker({ model, el }) {
  const box = document.createElement("div");
  box.className = "roi-eyes";
  box.style.cssText = `position: relative; width: ${model.get("shown_px")}px; max-width: 100%; cursor: crosshair`;
  const picture = document.createElement("img");
  picture.alt = "photograph; click on both eyes";
  picture.draggable = false;
  picture.style.cssText = "display: block; width: 100%";
  picture.src = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/jpeg" }));
  box.append(picture);
  const [width, height] = model.get("photo_size");
  const points = ["left", "right"].map((side, i) => {
    const point = document.createElement("button");
    point.type = "button";
    point.setAttribute("aria-label", `${side} eye in the picture; arrows move it`);
    point.dataset.testid = `roi-eye-${i}`;
    point.style.cssText = "position: absolute; width: 24px; height: 24px; margin: -12px 0 0 -12px; padding: 0; " +
      "border-radius: 50%; border: 2px solid white; box-shadow: 0 0 0 1px black; background: none; pointer-events: none"; // a click on a ring is one on the eye below it
    point.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const scale = (event.shiftKey ? 10 : 1) * width / box.clientWidth;
      const [x, y] = model.get("eye_points")[i];
      put(i, x + scale * step[0], y + scale * step[1]);
    });
    box.append(point);
    return point;
  });
  const put = (i, x, y) => {
    const eyes = model.get("eye_points").map((eye) => [...eye]);
    eyes[i] = [Math.min(width - 1, Math.max(0, x)), Math.min(height - 1, Math.max(0, y))];
    model.set("eye_points", eyes);
    model.save_changes();
  };
  const unplaced = model.get("guessed") ? [0, 1] : [];
  const draw = () => model.get("eye_points").forEach(([x, y], i) => {
    points[i].style.left = `${100 * (x + 0.5) / width}%`;
    points[i].style.top = `${100 * (y + 0.5) / height}%`;
  });
  picture.addEventListener("click", (event) => {
    const frame = picture.getBoundingClientRect();
    const x = (event.clientX - frame.left) / frame.width * width - 0.5;
    const y = (event.clientY - frame.top) / frame.height * height - 0.5;
    const far = model.get("eye_points").map(([a, b]) => (a - x) ** 2 + (b - y) ** 2);
    const chosen = unplaced.shift() ?? (far[0] <= far[1] ? 0 : 1);
    put(chosen, x, y);
    points[chosen].focus({ preventScroll: true }); // for the arrow keys
  });
  model.on("change:eye_points", draw);
  draw();
  el.append(box);
  return () => { model.off("change:eye_points", draw); URL.revokeObjectURL(picture.src); };
}

export default { render: eyePicker };
