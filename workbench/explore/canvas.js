// What the canvases of the explorers share; it is sent in front of ground.js and experts.js, as one module.

const INK = "#1b1b1b";
const SOFT = "#5a5a5a";
const FONT = "12px system-ui, sans-serif";
const TITLE = "600 13px system-ui, sans-serif";
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const bytes = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
const floats = (view) => (view ? new Float32Array(bytes(view)) : new Float32Array());
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// A canvas that takes the keyboard, and a line below it that screen readers read aloud.
function page() {
  const canvas = document.createElement("canvas");
  const status = document.createElement("div");
  canvas.tabIndex = 0;
  canvas.dataset.lmSuppressShortcuts = "true"; // JupyterLab has commands on the same keys
  canvas.style.cssText = "display:block;cursor:crosshair;outline-offset:2px;";
  canvas.setAttribute("role", "application");
  status.style.cssText = `font:13px system-ui, sans-serif;color:${INK};background:white;padding:2px 8px 6px;`;
  status.setAttribute("aria-live", "polite");
  return [canvas, status];
}

// An empty white canvas of this size in CSS pixels.
function cleared(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingEnabled = false;
  return context;
}

function text(context, words, x, y, { font = FONT, color = INK, align = "left" } = {}) {
  Object.assign(context, { font, fillStyle: color, textAlign: align, textBaseline: "alphabetic" });
  context.fillText(words, x, y);
}

// Text that runs upwards.
function upwards(context, words, x, y) {
  context.save();
  context.translate(x, y);
  context.rotate(-Math.PI / 2);
  text(context, words, 0, 0, { color: SOFT, align: "center" });
  context.restore();
}

function outline(context, { x, y, width, height }, color = SOFT) {
  Object.assign(context, { strokeStyle: color, lineWidth: 1 });
  context.strokeRect(x - 0.5, y - 0.5, width + 1, height + 1);
}

function line(context, color, width, [first, ...others], cap = "butt") {
  Object.assign(context, { strokeStyle: color, lineWidth: width, lineCap: cap });
  context.beginPath();
  context.moveTo(...first);
  for (const point of others) context.lineTo(...point);
  context.stroke();
}

function ring(context, [x, y], radius, color, width, dash = []) {
  Object.assign(context, { strokeStyle: color, lineWidth: width });
  context.setLineDash(dash);
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.stroke();
  context.setLineDash([]);
}

// A map as a picture; `color` gives red, green, blue and opacity of a value.
function bitmap(values, [rows, columns], color) {
  const canvas = new OffscreenCanvas(columns, rows);
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  values.forEach((value, index) => image.data.set(color(value), 4 * index));
  context.putImageData(image, 0, 0);
  return canvas;
}

const decoded = (png) => createImageBitmap(new Blob([png], { type: "image/png" }));
