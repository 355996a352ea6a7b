// A map with people on it: click to add somebody, drag to move them, paint density, see a transport plan as lines.
// Python owns the state and sends it as one `frame`; edits go back as messages, one at a time and the latest only.

const KEYS =
  "In the tool heads: comma and full stop choose a head, the arrow keys move it, Enter adds one, Delete removes it. " +
  "In the tools paint and erase: the arrow keys move the brush, Space applies it.";

function render({ model, el }) {
  const root = document.createElement("div");
  const [canvas, status] = page();
  root.className = "workbench-ground";
  root.style.cssText = "background:white;padding:4px;max-width:980px;";
  canvas.style.touchAction = "none";
  Object.assign(status.style, { padding: "2px 0 4px 46px", minHeight: "18px" });
  root.append(canvas, status);
  el.append(root);

  const client = Math.random().toString(36).slice(2);
  let frame = decode(model.get("frame"));
  let heads = frame.heads;
  let [selected, dragging, stroking, cursor, focused] = [-1, false, false, null, false];
  let [waiting, outbox, count, planned] = [0, null, 0, 0];
  let picture = null;
  let place = layout(760, frame);

  // ------------------------------------------------------------------ to Python and back
  function send(edit) {
    outbox = { ...outbox, ...edit, ...(edit.at ? { at: [...(outbox?.at ?? []), ...edit.at] } : {}) };
    if (!waiting) flush();
  }

  function flush() {
    if (!outbox) return;
    waiting = ++count;
    const sent = waiting;
    model.send({ ...outbox, client, number: sent });
    outbox = null;
    // a kernel that was restarted never answers
    setTimeout(() => { if (waiting === sent) { waiting = 0; flush(); } }, 3000);
  }

  function received() {
    frame = decode(model.get("frame"));
    if (frame.client === client && frame.answers === waiting) waiting = 0;
    flush();
    if (!dragging && !outbox?.heads && !waiting) heads = frame.heads;
    if (selected >= heads.length) selected = -1;
    schedule();
  }

  function loadPicture() {
    const png = model.get("picture");
    picture?.close?.();
    picture = null;
    schedule();
    if (png?.byteLength) {
      decoded(png).then((made) => { picture = made; schedule(); });
    }
  }

  // ------------------------------------------------------------------ drawing
  function schedule() {
    if (!planned) planned = requestAnimationFrame(draw);
  }

  function draw() {
    planned = 0;
    const width = clamp(root.clientWidth - 8, 300, 980);
    place = layout(width, frame);
    const context = cleared(canvas, width, place.height);
    canvas.style.width = "100%";
    const { main, map, scale } = place;
    const colors = model.get("colors");
    if (picture) {
      Object.assign(context, { globalAlpha: 0.45, imageSmoothingEnabled: true });
      context.drawImage(picture, main.x, main.y, main.width, main.height);
      Object.assign(context, { globalAlpha: 1, imageSmoothingEnabled: false });
      context.drawImage(heat(frame.density, frame), main.x, main.y, main.width, main.height);
    } else {
      drawMap(context, main, frame.density, frame);
    }
    drawLinks(context, place, frame, heads, colors);
    drawHeads(context, place, heads, selected, colors);
    drawAxes(context, place, frame);
    text(context, frame.title, main.x, main.y - 9, { font: TITLE });
    if (frame.plan) {
      drawMap(context, map, frame.leaving, frame);
      outline(context, map);
      text(context, "what leaves each cell", map.x, map.y - 9, { font: TITLE });
      drawScale(context, place, frame);
      drawBars(context, place, frame, colors);
    }
    if (cursor && model.get("tool") !== "heads") {
      const at = [main.x + cursor[0] * scale, main.y + cursor[1] * scale];
      ring(context, at, model.get("brush") * scale, INK, 1.5, [4, 3]);
    }
    status.textContent = frame.status;
    canvas.setAttribute("aria-label", `${frame.title}. ${frame.status} ${KEYS}`);
    Object.assign(canvas.dataset, { frame: frame.number, links: frame.links.length / 3, heads: heads.length });
    Object.assign(canvas.dataset, { left: main.x, top: main.y, scale });
  }

  // ------------------------------------------------------------------ pointer and keys
  function limits() {
    return [frame.size[1] * frame.stride, frame.size[0] * frame.stride];
  }

  function within([x, y]) {
    const [width, height] = limits();
    return [clamp(x, 0, width), clamp(y, 0, height)];
  }

  function position(event) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left - place.main.x) / place.scale, (event.clientY - box.top - place.main.y) / place.scale];
  }

  function outside([x, y]) {
    const [width, height] = limits();
    return x < 0 || y < 0 || x > width || y > height;
  }

  function nearest([x, y]) {
    const distances = heads.map(([hx, hy]) => Math.hypot(hx - x, hy - y) * place.scale);
    const best = distances.indexOf(Math.min(...distances));
    return best >= 0 && distances[best] < 14 ? best : -1;
  }

  function moveHead(to) {
    heads = heads.map((head, index) => (index === selected ? within(to) : head));
    send({ heads });
    schedule();
  }

  function addHead(at) {
    heads = [...heads, within(at)];
    selected = heads.length - 1;
    send({ heads });
    schedule();
  }

  function removeHead() {
    if (selected < 0) return;
    heads = heads.filter((_, index) => index !== selected);
    selected = -1;
    send({ heads });
    schedule();
  }

  function paint() {
    send({ at: [cursor], erase: model.get("tool") === "erase" });
  }

  canvas.addEventListener("pointerdown", (event) => {
    const at = position(event);
    canvas.focus({ preventScroll: true });
    if (event.button !== 0 || outside(at)) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    if (model.get("tool") === "heads") {
      selected = nearest(at);
      if (selected < 0) addHead(at);
      dragging = true;
    } else {
      cursor = at;
      stroking = true;
      paint();
    }
    schedule();
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = position(event);
    if (dragging) moveHead(at);
    else if (model.get("tool") !== "heads") {
      cursor = outside(at) && !stroking ? null : within(at);
      if (stroking) paint();
      schedule();
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => { [dragging, stroking] = [false, false]; });
  }
  canvas.addEventListener("pointerleave", () => { if (!focused) { cursor = null; schedule(); } });
  canvas.addEventListener("focus", () => { focused = true; });
  canvas.addEventListener("blur", () => { focused = false; });
  canvas.addEventListener("keydown", (event) => {
    const step = frame.stride * (event.shiftKey ? 4 : 0.5);
    const [width, height] = limits();
    const arrow = ARROWS[event.key];
    const drawing = model.get("tool") !== "heads";
    if (arrow && drawing) {
      cursor ??= [width / 2, height / 2];
      cursor = within([cursor[0] + arrow[0] * step, cursor[1] + arrow[1] * step]);
      schedule();
    } else if (arrow && selected >= 0) {
      moveHead([heads[selected][0] + arrow[0] * step, heads[selected][1] + arrow[1] * step]);
    } else if (event.key === " " && drawing) {
      cursor ??= [width / 2, height / 2];
      paint();
    } else if (drawing || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    } else if ([",", "."].includes(event.key) && heads.length) {
      selected = selected < 0 ? 0 : (selected + (event.key === "." ? 1 : heads.length - 1)) % heads.length;
      schedule();
    } else if (event.key === "Enter" && !event.shiftKey) {
      addHead([width / 2, height / 2]);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      removeHead();
    } else if (event.key === "Escape") {
      selected = -1;
      schedule();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });

  model.on("change:frame", received);
  model.on("change:picture", loadPicture);
  model.on("change:tool", schedule);
  model.on("change:brush", schedule);
  const resized = new ResizeObserver(schedule);
  resized.observe(root);
  loadPicture();
  return () => {
    resized.disconnect();
    cancelAnimationFrame(planned);
    model.off("change:frame", received);
    model.off("change:picture", loadPicture);
    model.off("change:tool", schedule);
    model.off("change:brush", schedule);
  };
}

export default { render };
