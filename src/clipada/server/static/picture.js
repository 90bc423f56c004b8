// Reads an image and its anomaly map, and draws the map over the image: heat, and the contours of the regions above the threshold.

// Ten evenly spaced colors of matplotlib's "plasma", as in the pictures that `clipada predict` writes.
const HEAT = [[13, 8, 135], [71, 3, 159], [115, 1, 168], [156, 23, 158], [189, 55, 134], [216, 87, 107],
  [237, 121, 83], [250, 158, 59], [253, 201, 38], [240, 249, 33]];
const CONTOUR = [0, 240, 255, 255];
const OUTSIDE = [0, 0, 0, 153]; // as in the pictures that `clipada predict` writes
const SIDE = 1024;

// Return an image that the browser can display, loaded; null for none, and for another kind of file.
export async function readImage(blob) {
  if (!blob) return null;
  const image = Object.assign(new Image(), { src: URL.createObjectURL(blob) });
  try {
    await image.decode();
    return image;
  } catch {
    URL.revokeObjectURL(image.src);
    return null;
  }
}

// Read the map in a PNG whose red and green channels are the two bytes of a value, 0..65535. If it is larger than SIDE,
// each point is the maximum of a square of pixels, so that no region is too small to be seen. Blue marks what does not
// count; a square does if one of its pixels does.
export async function readMap(blob) {
  const picture = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const context = new OffscreenCanvas(picture.width, picture.height).getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, picture.width, picture.height);
  const step = Math.ceil(Math.max(picture.width, picture.height) / SIDE);
  const [width, height] = [Math.ceil(picture.width / step), Math.ceil(picture.height / step)];
  const values = new Uint16Array(width * height);
  const outside = new Uint8Array(width * height).fill(1);
  for (let y = 0, pixel = 0; y < picture.height; y++) {
    const row = Math.floor(y / step) * width;
    for (let x = 0; x < picture.width; x++, pixel += 4) {
      const at = row + Math.floor(x / step);
      values[at] = Math.max(values[at], 256 * data[pixel] + data[pixel + 1]);
      if (!data[pixel + 2]) outside[at] = 0;
    }
  }
  return { values, outside, width, height };
}

// Return the color of a value on the scale with the threshold in its middle; low values are transparent.
function color(value, threshold) {
  const above = value * (65535 - threshold);
  const heat = above / (above + (65535 - value) * threshold);
  const place = heat * (HEAT.length - 1);
  const first = Math.min(Math.floor(place), HEAT.length - 2);
  const rgb = HEAT[first].map((start, channel) => start + (place - first) * (HEAT[first + 1][channel] - start));
  return [...rgb, 255 * heat * heat * (3 - 2 * heat)];
}

function paint(canvas, { width, height }, pick) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let at = 0; at < width * height; at++) {
    const rgba = pick(at);
    if (rgba) picture.data.set(rgba, 4 * at);
  }
  context.putImageData(picture, 0, 0);
}

// Draw a map, and the contours of the regions above the threshold, 0..1.
export function drawMap(heat, contours, map, threshold) {
  const { values, outside, width, height } = map;
  const edge = 65535 * threshold;
  const middle = Math.min(Math.max(edge, 1), 65534);
  const colors = Array.from({ length: 256 }, (_, index) => color(257 * index, middle));
  paint(heat, map, (at) => (outside[at] ? OUTSIDE : colors[values[at] >> 8]));
  const reach = Math.max(1, Math.round(Math.max(width, height) / 320));
  const above = (x, y) => x >= 0 && y >= 0 && x < width && y < height && values[y * width + x] > edge;
  paint(contours, map, (at) => {
    if (values[at] <= edge) return null;
    const [x, y] = [at % width, Math.floor(at / width)];
    const inner = above(x - reach, y) && above(x + reach, y) && above(x, y - reach) && above(x, y + reach);
    return inner ? null : CONTOUR;
  });
}
