// Draws a region of interest over the shown image, as rectangles and polygons, and saves it as the JSON file that
// `clipada train --roi` reads.

const SVG = "http://www.w3.org/2000/svg";
const CLOSE = 12; // pixels of the screen from the first corner within which a click closes a polygon

// Make the drawing in a layer with its form; `named` returns the name of the file, without its ending.
export function drawing(layer, form, named) {
  const drawn = { size: null, polygons: [], open: [] };
  const field = (name) => form.elements.namedItem(name);
  const say = (text) => { form.querySelector("output").value = text; };
  const rectangle = ([x, y], [right, bottom]) => [[x, y], [right, y], [right, bottom], [x, bottom]];

  // The place of an event in pixels of the image, inside of it.
  function place(event) {
    const box = layer.getBoundingClientRect();
    const share = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    return share.map((one, axis) => Math.round(10 * Math.min(1, Math.max(0, one)) * drawn.size[axis]) / 10);
  }

  function paint(pointer) {
    const shapes = drawn.polygons.map((corners) => shape("polygon", corners));
    const open = pointer ? [...drawn.open, pointer] : drawn.open;
    if (open.length) shapes.push(field("shape").value === "rectangle" && pointer ? shape("polygon", rectangle(drawn.open[0], pointer)) : shape("polyline", open));
    layer.replaceChildren(...shapes);
    for (const name of ["undo", "save"]) field(name).disabled = !drawn.polygons.length;
    if (drawn.open.length) field("undo").disabled = false;
  }

  function shape(name, corners) {
    const element = document.createElementNS(SVG, name);
    element.setAttribute("points", corners.map((corner) => corner.join(",")).join(" "));
    return element;
  }

  function close(corners) {
    const [xs, ys] = [0, 1].map((axis) => corners.map((corner) => corner[axis]));
    const wide = Math.max(...xs) - Math.min(...xs) >= 1 && Math.max(...ys) - Math.min(...ys) >= 1;
    drawn.open = [];
    if (corners.length > 2 && wide) drawn.polygons.push(corners);
    say(`${drawn.polygons.length} shape${drawn.polygons.length === 1 ? "" : "s"}`);
    paint();
  }

  function near(corner, point) {
    const { width } = layer.getBoundingClientRect();
    const scale = width / drawn.size[0];
    return Math.hypot(corner[0] - point[0], corner[1] - point[1]) * scale < CLOSE;
  }

  layer.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    const point = place(event);
    if (field("shape").value === "rectangle") {
      layer.setPointerCapture(event.pointerId);
      drawn.open = [point];
    } else if (drawn.open.length > 2 && near(drawn.open[0], point)) {
      close(drawn.open);
    } else {
      drawn.open.push(point);
      say("click the first corner again to close the polygon");
      paint();
    }
  });
  layer.addEventListener("pointermove", (event) => { if (drawn.open.length) paint(place(event)); });
  layer.addEventListener("pointerup", (event) => {
    if (field("shape").value === "rectangle" && drawn.open.length) close(rectangle(drawn.open[0], place(event)));
  });
  form.addEventListener("change", () => { drawn.open = []; paint(); });
  field("undo").addEventListener("click", () => {
    if (drawn.open.length) drawn.open.pop();
    else drawn.polygons.pop();
    paint();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const content = JSON.stringify({ size: drawn.size, polygons: drawn.polygons });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
    link.download = `${named()}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    say(`saved: clipada train DATA --roi ${link.download}`);
  });

  // Draw on an image of another size anew; on one of the same size, shapes stay.
  return (size) => {
    if (drawn.size?.join() !== size.join()) Object.assign(drawn, { size, polygons: [], open: [] });
    layer.setAttribute("viewBox", `0 0 ${size.join(" ")}`);
    paint();
  };
}
