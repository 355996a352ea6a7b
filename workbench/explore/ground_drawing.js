// What a ground looks like: pure functions of the frame, which ground.js calls. Both are sent as one module.

const INK = "#1b1b1b";
const SOFT = "#5a5a5a";
const DENSITY = [11, 31, 58]; // dark blue, more opaque where there is more
const FONT = "12px system-ui, sans-serif";
const TITLE = "600 13px system-ui, sans-serif";
const floats = (view) =>
  view ? new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength)) : new Float32Array();
const pairs = (values) => Array.from({ length: values.length / 2 }, (_, i) => [values[2 * i], values[2 * i + 1]]);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const short = (value) => (value === 0 ? "0" : Number(value.toPrecision(2)).toString());

function decode(frame) {
  return {
    ...frame,
    density: floats(frame.density),
    heads: pairs(floats(frame.heads)),
    leaving: floats(frame.leaving),
    arriving: floats(frame.arriving),
    weights: floats(frame.weights),
    links: floats(frame.links),
  };
}

// Where things stand, in CSS pixels; `scale` is CSS pixels per image pixel.
function layout(width, frame) {
  const [rows, columns] = frame.size;
  const [left, top, gap] = [46, 26, 64];
  const side = frame.plan ? clamp(width * 0.3, 150, 290) : 0;
  const room = width - left - 14 - (side ? side + gap : 0);
  const scale = Math.min(room / (columns * frame.stride), 520 / (rows * frame.stride));
  const main = { x: left, y: top, width: columns * frame.stride * scale, height: rows * frame.stride * scale };
  const map = { x: main.x + main.width + gap, y: top, width: side * 0.72, height: (side * 0.72 * rows) / columns };
  const barsTop = map.y + map.height + 86;
  const bars = { x: map.x, y: barsTop, width: side, height: Math.max(main.y + main.height - barsTop, 60) };
  return { scale, main, map, bars, height: main.y + main.height + 44 };
}

function heat(values, rows, columns, top) {
  const buffer = new OffscreenCanvas(columns, rows);
  const context = buffer.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let i = 0; i < values.length; i++) {
    image.data.set([...DENSITY, 235 * clamp(values[i] / top, 0, 1)], 4 * i);
  }
  context.putImageData(image, 0, 0);
  return buffer;
}

function text(context, words, x, y, { font = FONT, color = INK, align = "left" } = {}) {
  Object.assign(context, { font, fillStyle: color, textAlign: align, textBaseline: "alphabetic" });
  context.fillText(words, x, y);
}

function drawAxes(context, { main, scale }, frame) {
  const [rows, columns] = frame.size;
  context.strokeStyle = SOFT;
  context.lineWidth = 1;
  context.strokeRect(main.x - 0.5, main.y - 0.5, main.width + 1, main.height + 1);
  const step = 32 * Math.max(1, Math.round((Math.max(rows, columns) * frame.stride) / 160));
  for (let x = 0; x <= columns * frame.stride; x += step) {
    text(context, `${x}`, main.x + x * scale, main.y + main.height + 16, { color: SOFT, align: "center" });
  }
  for (let y = 0; y <= rows * frame.stride; y += step) {
    text(context, `${y}`, main.x - 6, main.y + y * scale + 4, { color: SOFT, align: "right" });
  }
  text(context, "x (image pixels)", main.x + main.width / 2, main.y + main.height + 33, { color: SOFT, align: "center" });
  context.save();
  context.translate(12, main.y + main.height / 2);
  context.rotate(-Math.PI / 2);
  text(context, "y (image pixels)", 0, 0, { color: SOFT, align: "center" });
  context.restore();
}

function drawMap(context, box, values, frame) {
  context.fillStyle = "white";
  context.fillRect(box.x, box.y, box.width, box.height);
  context.imageSmoothingEnabled = false;
  context.drawImage(heat(values, ...frame.size, frame.top), box.x, box.y, box.width, box.height);
}

// Lines as wide as the mass, the lightest first, clipped to the map.
function drawLinks(context, { main, scale }, frame, heads, colors) {
  const columns = frame.size[1];
  context.save();
  context.beginPath();
  context.rect(main.x, main.y, main.width, main.height);
  context.clip();
  context.globalAlpha = 0.75;
  context.lineCap = "round";
  for (let k = frame.links.length - 3; k >= 0; k -= 3) {
    const [cell, head, mass] = frame.links.subarray(k, k + 3);
    if (!heads[head]) continue;
    context.strokeStyle = colors[head % colors.length];
    context.lineWidth = mass * frame.width * scale;
    context.beginPath();
    context.moveTo(main.x + ((cell % columns) + 0.5) * frame.stride * scale, main.y + (Math.floor(cell / columns) + 0.5) * frame.stride * scale);
    context.lineTo(main.x + heads[head][0] * scale, main.y + heads[head][1] * scale);
    context.stroke();
  }
  context.restore();
}

function drawHeads(context, { main, scale }, heads, selected, colors) {
  heads.forEach(([x, y], head) => {
    const [cx, cy] = [main.x + x * scale, main.y + y * scale];
    for (const [size, color, width] of [[8, "white", 7], [7, INK, 4.6], [6.6, colors[head % colors.length], 3]]) {
      context.strokeStyle = color;
      context.lineWidth = width;
      context.lineCap = "butt";
      context.beginPath();
      context.moveTo(cx - size, cy);
      context.lineTo(cx + size, cy);
      context.moveTo(cx, cy - size);
      context.lineTo(cx, cy + size);
      context.stroke();
    }
    if (head === selected) {
      context.strokeStyle = INK;
      context.lineWidth = 1.5;
      context.setLineDash([4, 3]);
      context.beginPath();
      context.arc(cx, cy, 14, 0, 2 * Math.PI);
      context.stroke();
      context.setLineDash([]);
    }
  });
}

function drawScale(context, { map, scale }, frame) {
  const y = map.y + map.height + 14;
  const bar = context.createLinearGradient(map.x, 0, map.x + map.width, 0);
  bar.addColorStop(0, `rgba(${DENSITY}, 0)`);
  bar.addColorStop(1, `rgba(${DENSITY}, 0.92)`);
  context.fillStyle = bar;
  context.fillRect(map.x, y, map.width, 9);
  context.strokeStyle = SOFT;
  context.lineWidth = 1;
  context.strokeRect(map.x - 0.5, y - 0.5, map.width + 1, 10);
  text(context, "0", map.x, y + 23, { color: SOFT });
  text(context, short(frame.top), map.x + map.width, y + 23, { color: SOFT, align: "right" });
  text(context, "people per cell", map.x + map.width / 2, y + 23, { color: SOFT, align: "center" });
  const mass = Number((4 / (frame.width * scale)).toPrecision(1));
  context.strokeStyle = SOFT;
  context.lineCap = "round";
  context.lineWidth = mass * frame.width * scale;
  context.beginPath();
  context.moveTo(map.x + 3, y + 38);
  context.lineTo(map.x + 40, y + 38);
  context.stroke();
  text(context, `${short(mass)} people moved`, map.x + 50, y + 42, { color: SOFT });
}

function drawBars(context, { bars }, frame, colors) {
  text(context, "what arrives at each head", bars.x, bars.y - 10, { font: TITLE });
  const most = Math.max(1.25, ...frame.weights, ...frame.arriving);
  const step = bars.width / Math.max(frame.weights.length, 1);
  const bottom = bars.y + bars.height;
  frame.arriving.forEach((mass, head) => {
    const [x, width] = [bars.x + (head + 0.15) * step, 0.7 * step];
    context.fillStyle = colors[head % colors.length];
    context.fillRect(x, bottom - (mass / most) * bars.height, width, (mass / most) * bars.height);
    context.strokeStyle = INK;
    context.lineWidth = 1;
    context.strokeRect(x, bottom - (frame.weights[head] / most) * bars.height, width, (frame.weights[head] / most) * bars.height);
  });
  context.strokeStyle = SOFT;
  context.beginPath();
  context.moveTo(bars.x - 0.5, bars.y);
  context.lineTo(bars.x - 0.5, bottom + 0.5);
  context.lineTo(bars.x + bars.width, bottom + 0.5);
  context.stroke();
  for (let people = 0; people <= most; people += Math.max(1, Math.ceil(most / 5))) {
    text(context, `${people}`, bars.x - 6, bottom - (people / most) * bars.height + 4, { color: SOFT, align: "right" });
  }
  text(context, "head (outline: annotated, filled: moved there)", bars.x, bottom + 16, { color: SOFT });
  context.save();
  context.translate(bars.x - 26, bars.y + bars.height / 2);
  context.rotate(-Math.PI / 2);
  text(context, "people", 0, 0, { color: SOFT, align: "center" });
  context.restore();
}
