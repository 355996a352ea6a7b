// A picture with a mixture's maps around it: the pointer, or the arrow keys, choose a pixel; the weights of every gate
// at that pixel stand below as bars. The maps are here already, so nothing is asked of Python.

const PANEL = 168;
const GAP = 16;
const KEYS = "The arrow keys move the pixel, with Shift in larger steps.";

// A map in a table of 256 colours: red, green and blue of each.
function colored(panel, values, table) {
  return bitmap(values, panel.size, (value) => {
    const place = 3 * Math.round(255 * clamp(value / panel.most, 0, 1));
    return [table[place], table[place + 1], table[place + 2], 255];
  });
}

function render({ model, el }) {
  const [canvas, status] = page();
  el.append(canvas, status);

  let [maps, picture, at, planned] = [[], null, [0, 0], 0];

  function load() {
    const state = model.get("maps");
    maps = state.panels.map((panel) => {
      const values = floats(panel.values);
      const table = new Uint8Array(bytes(panel.weight ? state.viridis : state.magma));
      return { ...panel, values, image: colored(panel, values, table) };
    });
    at = [state.width / 2, state.height / 2];
    decoded(state.picture).then((made) => { picture = made; schedule(); });
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
    const context = cleared(canvas, GAP + 5 * (PANEL + GAP), barsTop + 112);
    places.forEach((box, index) => {
      const panel = maps[index - 1];
      const image = index ? panel.image : picture;
      if (image) context.drawImage(image, box.x, box.y, box.width, box.height);
      outline(context, box);
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
    const place = [box.x + (at[0] / width) * box.width, box.y + (at[1] / height) * box.height];
    for (const [color, size] of [["white", 3.5], [INK, 1.5]]) ring(context, place, 6, color, size);
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
    const arrow = ARROWS[event.key];
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
