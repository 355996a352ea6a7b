// A picture with a mixture's maps around it: the pointer, or the arrow keys, choose a pixel; the weights of every gate
// at that pixel stand below as bars. The maps are here already, so nothing is asked of Python.

const INK = "#1b1b1b";
const SOFT = "#5a5a5a";
const FONT = "12px system-ui, sans-serif";
const TITLE = "600 13px system-ui, sans-serif";
const PANEL = 168;
const GAP = 16;
const KEYS = "The arrow keys move the pixel, with Shift in larger steps.";

const bytes = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
const floats = (view) => new Float32Array(bytes(view));
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function text(context, words, x, y, { font = FONT, color = INK, align = "left" } = {}) {
  Object.assign(context, { font, fillStyle: color, textAlign: align, textBaseline: "alphabetic" });
  context.fillText(words, x, y);
}

// A map as a picture; `colors` is a table of 256 colours, red, green and blue.
function bitmap(values, [rows, columns], most, colors) {
  const canvas = new OffscreenCanvas(columns, rows);
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  values.forEach((value, index) => {
    const place = 3 * Math.round(255 * clamp(value / most, 0, 1));
    image.data.set([colors[place], colors[place + 1], colors[place + 2], 255], 4 * index);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

function render({ model, el }) {
  const canvas = document.createElement("canvas");
  const status = document.createElement("div");
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true";
  canvas.setAttribute("role", "application");
  canvas.style.cssText = "display:block;cursor:crosshair;outline-offset:2px;";
  status.setAttribute("aria-live", "polite");
  status.style.cssText = `font:13px system-ui, sans-serif;color:${INK};background:white;padding:2px 8px 6px;`;
  el.append(canvas, status);

  let [maps, picture, at, planned] = [[], null, [0, 0], 0];

  function load() {
    const state = model.get("maps");
    maps = state.panels.map((panel) => {
      const values = floats(panel.values);
      const colors = panel.weight ? state.viridis : state.magma;
      return { ...panel, values, image: bitmap(values, panel.size, panel.most, new Uint8Array(bytes(colors))) };
    });
    at = [state.width / 2, state.height / 2];
    createImageBitmap(new Blob([state.picture], { type: "image/png" })).then((made) => { picture = made; schedule(); });
  }

  function value(panel) {
    const { width, height } = model.get("maps");
    const row = clamp(Math.floor((at[1] / height) * panel.size[0]), 0, panel.size[0] - 1);
    const column = clamp(Math.floor((at[0] / width) * panel.size[1]), 0, panel.size[1] - 1);
    return panel.values[row * panel.size[1] + column];
  }

  // The picture first, then the maps, five in a row; each has its own box.
  function boxes() {
    const { width, height } = model.get("maps");
    const panelHeight = (PANEL * height) / width;
    return Array.from({ length: maps.length + 1 }, (_, index) => ({
      x: GAP + (index % 5) * (PANEL + GAP),
      y: 30 + Math.floor(index / 5) * (panelHeight + 38),
      width: PANEL,
      height: panelHeight,
    }));
  }

  function schedule() {
    if (!planned) planned = requestAnimationFrame(draw);
  }

  function draw() {
    planned = 0;
    const state = model.get("maps");
    const places = boxes();
    const last = places[places.length - 1];
    const barsTop = last.y + last.height + 46;
    const [width, height] = [GAP + 5 * (PANEL + GAP), barsTop + 112];
    const ratio = window.devicePixelRatio || 1;
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.imageSmoothingEnabled = false;
    places.forEach((box, index) => {
      const panel = maps[index - 1];
      const image = index ? panel.image : picture;
      if (image) context.drawImage(image, box.x, box.y, box.width, box.height);
      context.strokeStyle = SOFT;
      context.lineWidth = 1;
      context.strokeRect(box.x - 0.5, box.y - 0.5, box.width + 1, box.height + 1);
      const unit = index && !panel.weight ? " people" : "";
      text(context, index ? panel.title + unit : state.title, box.x, box.y - 8, { font: TITLE });
      cross(context, box, state);
    });
    drawBars(context, barsTop, state);
    const words = maps.filter((panel) => panel.weight).map((panel) => `${panel.title} ${value(panel).toFixed(2)}`);
    const people = maps.filter((panel) => !panel.weight).map((panel) => `${panel.title} ${value(panel).toPrecision(2)}`);
    status.textContent = `At x = ${Math.floor(at[0])}, y = ${Math.floor(at[1])} (image pixels): people per cell: ${people.join(", ")}.`;
    canvas.setAttribute("aria-label", `Maps of the experts. ${status.textContent} Weights: ${words.join(", ")}. ${KEYS}`);
    Object.assign(canvas.dataset, { x: at[0], y: at[1], drawn: Number(canvas.dataset.drawn ?? 0) + 1 });
  }

  function cross(context, box, { width, height }) {
    const [x, y] = [box.x + (at[0] / width) * box.width, box.y + (at[1] / height) * box.height];
    for (const [color, size] of [["white", 3.5], [INK, 1.5]]) {
      context.strokeStyle = color;
      context.lineWidth = size;
      context.beginPath();
      context.arc(x, y, 6, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  // One stacked bar a gate: the shares of its members at the pixel.
  function drawBars(context, top, state) {
    text(context, "weights at the pixel (in the maps: dark is 0, yellow 1)", GAP, top - 14, { font: TITLE });
    const gates = [...new Set(maps.filter((panel) => panel.weight).map((panel) => panel.gate))];
    const wide = (5 * (PANEL + GAP)) / Math.max(gates.length, 1) - 2 * GAP;
    gates.forEach((gate, index) => {
      let x = GAP + index * (wide + 2 * GAP);
      text(context, gate, x, top + 6, { color: SOFT });
      for (const panel of maps.filter((one) => one.weight && one.gate === gate)) {
        const share = value(panel) * wide;
        context.fillStyle = state.colors[panel.color % state.colors.length];
        context.fillRect(x, top + 14, share, 34);
        if (share > 34) text(context, value(panel).toFixed(2), x + share / 2, top + 36, { align: "center", font: TITLE, color: "white" });
        if (share > 16) text(context, panel.member, x + share / 2, top + 66, { align: "center" });
        x += share;
      }
    });
  }

  function move(to) {
    const { width, height } = model.get("maps");
    at = [clamp(to[0], 0, width - 0.01), clamp(to[1], 0, height - 0.01)];
    schedule();
  }

  canvas.addEventListener("pointermove", (event) => {
    const { width, height } = model.get("maps");
    const frame = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    const box = boxes().find((one) => x >= one.x && x < one.x + one.width && y >= one.y && y < one.y + one.height);
    if (box) move([((x - box.x) / box.width) * width, ((y - box.y) / box.height) * height]);
  });
  canvas.addEventListener("keydown", (event) => {
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!arrow) return;
    const step = model.get("maps").stride * (event.shiftKey ? 4 : 1);
    move([at[0] + arrow[0] * step, at[1] + arrow[1] * step]);
    event.preventDefault();
    event.stopPropagation();
  });
  const changed = () => { load(); schedule(); };
  model.on("change:maps", changed);
  changed();
  return () => {
    cancelAnimationFrame(planned);
    model.off("change:maps", changed);
  };
}

export default { render };
