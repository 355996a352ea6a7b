// What a ground looks like: functions of the frame, which ground.js calls.

const DENSITY = [11, 31, 58]; // dark blue, more opaque where there is more
const pairs = (values) => Array.from({ length: values.length / 2 }, (_, i) => [values[2 * i], values[2 * i + 1]]);
const short = (value) => (value === 0 ? "0" : Number(value.toPrecision(2)).toString());

function decode(frame) {
  const names = ["density", "leaving", "arriving", "weights", "links"];
  const maps = Object.fromEntries(names.map((name) => [name, floats(frame[name])]));
  return { ...frame, ...maps, heads: pairs(floats(frame.heads)) };
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

const heat = (values, frame) => bitmap(values, frame.size, (value) => [...DENSITY, 235 * clamp(value / frame.top, 0, 1)]);

function drawAxes(context, { main, scale }, frame) {
  const [rows, columns] = frame.size;
  outline(context, main);
  const step = 32 * Math.max(1, Math.round((Math.max(rows, columns) * frame.stride) / 160));
  for (let x = 0; x <= columns * frame.stride; x += step) {
    text(context, `${x}`, main.x + x * scale, main.y + main.height + 16, { color: SOFT, align: "center" });
  }
  for (let y = 0; y <= rows * frame.stride; y += step) {
    text(context, `${y}`, main.x - 6, main.y + y * scale + 4, { color: SOFT, align: "right" });
  }
  text(context, "x (image pixels)", main.x + main.width / 2, main.y + main.height + 33, { color: SOFT, align: "center" });
  upwards(context, "y (image pixels)", 12, main.y + main.height / 2);
}

function drawMap(context, box, values, frame) {
  context.fillStyle = "white";
  context.fillRect(box.x, box.y, box.width, box.height);
  context.drawImage(heat(values, frame), box.x, box.y, box.width, box.height);
}

// Lines as wide as the mass, the lightest first, clipped to the map.
function drawLinks(context, { main, scale }, frame, heads, colors) {
  const columns = frame.size[1];
  context.save();
  context.beginPath();
  context.rect(main.x, main.y, main.width, main.height);
  context.clip();
  context.globalAlpha = 0.75;
  for (let k = frame.links.length - 3; k >= 0; k -= 3) {
    const [cell, head, mass] = frame.links.subarray(k, k + 3);
    if (!heads[head]) continue;
    const from = [cell % columns, Math.floor(cell / columns)].map((place) => (place + 0.5) * frame.stride);
    const ends = [from, heads[head]].map(([x, y]) => [main.x + x * scale, main.y + y * scale]);
    line(context, colors[head % colors.length], mass * frame.width * scale, ends, "round");
  }
  context.restore();
}

function drawHeads(context, { main, scale }, heads, selected, colors) {
  heads.forEach(([x, y], head) => {
    const [cx, cy] = [main.x + x * scale, main.y + y * scale];
    for (const [size, color, width] of [[8, "white", 7], [7, INK, 4.6], [6.6, colors[head % colors.length], 3]]) {
      line(context, color, width, [[cx - size, cy], [cx + size, cy]]);
      line(context, color, width, [[cx, cy - size], [cx, cy + size]]);
    }
    if (head === selected) ring(context, [cx, cy], 14, INK, 1.5, [4, 3]);
  });
}

function drawScale(context, { map, scale }, frame) {
  const y = map.y + map.height + 14;
  const bar = context.createLinearGradient(map.x, 0, map.x + map.width, 0);
  bar.addColorStop(0, `rgba(${DENSITY}, 0)`);
  bar.addColorStop(1, `rgba(${DENSITY}, 0.92)`);
  context.fillStyle = bar;
  context.fillRect(map.x, y, map.width, 9);
  outline(context, { ...map, y, height: 9 });
  text(context, "0", map.x, y + 23, { color: SOFT });
  text(context, short(frame.top), map.x + map.width, y + 23, { color: SOFT, align: "right" });
  text(context, "people per cell", map.x + map.width / 2, y + 23, { color: SOFT, align: "center" });
  const mass = Number((4 / (frame.width * scale)).toPrecision(1));
  line(context, SOFT, mass * frame.width * scale, [[map.x + 3, y + 38], [map.x + 40, y + 38]], "round");
  text(context, `${short(mass)} people moved`, map.x + 50, y + 42, { color: SOFT });
}

function drawBars(context, { bars }, frame, colors) {
  text(context, "what arrives at each head", bars.x, bars.y - 10, { font: TITLE });
  const most = Math.max(1.25, ...frame.weights, ...frame.arriving);
  const step = bars.width / Math.max(frame.weights.length, 1);
  const bottom = bars.y + bars.height;
  frame.arriving.forEach((mass, head) => {
    const [x, width] = [bars.x + (head + 0.15) * step, 0.7 * step];
    const [filled, given] = [mass, frame.weights[head]].map((people) => (people / most) * bars.height);
    context.fillStyle = colors[head % colors.length];
    context.fillRect(x, bottom - filled, width, filled);
    outline(context, { x, y: bottom - given, width, height: given }, INK);
  });
  const corner = [bars.x - 0.5, bottom + 0.5];
  line(context, SOFT, 1, [[corner[0], bars.y], corner, [bars.x + bars.width, corner[1]]]);
  for (let people = 0; people <= most; people += Math.max(1, Math.ceil(most / 5))) {
    text(context, `${people}`, bars.x - 6, bottom - (people / most) * bars.height + 4, { color: SOFT, align: "right" });
  }
  text(context, "head (outline: annotated, filled: moved there)", bars.x, bottom + 16, { color: SOFT });
  upwards(context, "people", bars.x - 26, bars.y + bars.height / 2);
}
