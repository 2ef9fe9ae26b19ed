"use strict";
const $ = id => document.getElementById(id);
const facts = JSON.parse($("facts").textContent);
const every = Array.from({length: facts.layers}, (_, layer) => layer);
const zeros = () => Array(facts.directions).fill(0);
const png = content => "data:image/png;base64," + content;

// How the image is made: what the server calls a recipe, and a name for the caption.
let recipe = {
  seed: 0, w: null, class_index: facts.classes.length ? 0 : null, psi: 0.7,
  mix_seed: 1, mix_layers: [], pca: zeros(), affine: zeros(), layers: every,
};
let origin = "";
let round = 0;
const past = [], stops = [];

const complain = message => {
  $("alert").textContent = message;
  $("alert").hidden = !message;
};

// ---- talking to the server

async function send(path, body, signal) {
  const isFile = body instanceof Blob;
  const type = isFile ? "application/octet-stream" : "application/json";
  let answer;
  try {
    const content = isFile ? body : JSON.stringify(body);
    answer = await fetch(path, {method: "POST", headers: {"content-type": type}, body: content, signal});
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is `stylegan explore` still running?");
  }
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer;
}

const ask = async (path, body) => (await send(path, body)).json();

// Lines of JSON as they come, until the end or until the signal aborts.
async function* listen(path, body, signal) {
  const reader = (await send(path, body, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {value, done} = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const found = JSON.parse(line);
      if (found.error) throw new Error(found.error);
      yield found;
    }
    if (done) return;
  }
}

// The newest of many requests: what is asked while one is under way waits, and only the last of them is sent.
function newest(work) {
  let busy = false, again = false;
  return async () => {
    if (busy) { again = true; return; }
    busy = true;
    do {
      again = false;
      try { await work(); } catch (error) { complain(error.message); }
    } while (again);
    busy = false;
  };
}

// ---- the image

const number = value => String(Math.round(value * 100) / 100);

function describe() {
  const chosen = facts.classes.length ? [`class ${facts.classes[recipe.class_index]}`] : [];
  const ofSeed = recipe.w ? [] : chosen, ofSecondSeed = recipe.w ? chosen : []; // given styles have no class
  const parts = [recipe.w ? origin : `seed ${recipe.seed}`, ...ofSeed, `psi ${number(recipe.psi)}`];
  if (recipe.mix_layers.length) {
    parts.push(`layers ${recipe.mix_layers.join(", ")} of seed ${recipe.mix_seed}`, ...ofSecondSeed);
  }
  if ([...recipe.pca, ...recipe.affine].some(Boolean)) parts.push("moved");
  return parts.join(", ");
}

const draw = newest(async () => {
  document.body.classList.add("busy");
  try {
    const asked = structuredClone(recipe), text = describe();
    const found = await ask("draw", asked);
    $("image").src = png(found.image);
    $("image").alt = `Generated image: ${text}`;
    $("caption").textContent = text;
  } finally { document.body.classList.remove("busy"); }
});

const surround = newest(async () => {
  const found = await ask("near", {recipe, round, distance: Number($("distance").value)});
  const focused = [...$("near").children].indexOf(document.activeElement);
  $("near").replaceChildren(...found.map((each, place) => {
    const button = document.createElement("button"), image = new Image();
    image.src = png(each.image);
    image.alt = `Variation ${place + 1} of ${found.length}`;
    button.append(image);
    button.onclick = () => { start(each.w, `variation of ${recipe.w ? origin : "seed " + recipe.seed}`); };
    return button;
  }));
  $("near").children[focused]?.focus(); // the keyboard stays where it was
});

let waiting = 0;
function update() {
  complain("");
  show();
  draw();
  clearTimeout(waiting);
  waiting = setTimeout(surround, 300);
}

// Continue from styles that already hold every mixture and step.
function start(w, name) {
  past.push({recipe: structuredClone(recipe), origin});
  origin = name.replace(/^(variation of )+/, "variation of ");
  recipe = {...recipe, w, mix_layers: [], pca: zeros(), affine: zeros()};
  round += 1;
  update();
}

// ---- controls show the recipe

const sliders = {pca: [], affine: []};

function show() {
  $("seed").value = recipe.seed;
  $("psi").value = recipe.psi;
  $("mix-seed").value = recipe.mix_seed;
  if (facts.classes.length) $("class").value = recipe.class_index;
  for (const kind of ["pca", "affine"]) sliders[kind].forEach((input, place) => { input.value = recipe[kind][place]; });
  for (const output of document.querySelectorAll("output")) output.value = number($(output.htmlFor.value).value);
  for (const [id, key] of [["mix-layers", "mix_layers"], ["direction-layers", "layers"]]) {
    for (const button of $(id).querySelectorAll("[data-layer]")) {
      button.setAttribute("aria-pressed", recipe[key].includes(Number(button.dataset.layer)));
    }
  }
  $("back").disabled = !past.length;
}

function addLayers(id, key, label, changed) {
  const group = $(id), toggle = (text, set) => {
    const button = document.createElement("button");
    button.textContent = text;
    button.onclick = () => { recipe = {...recipe, [key]: set()}; changed(); update(); };
    return button;
  };
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", label);
  const title = document.createElement("span");
  title.textContent = "Layers";
  group.append(title, ...every.map(layer => {
    const button = toggle(layer, () => recipe[key].includes(layer)
      ? recipe[key].filter(each => each !== layer) : [...recipe[key], layer].sort((a, b) => a - b));
    button.dataset.layer = layer;
    button.setAttribute("aria-label", `Layer ${layer}`);
    return button;
  }), toggle("All", () => every), toggle("None", () => []));
}

function addSliders(kind) {
  for (let place = 0; place < facts.directions; place++) {
    const label = document.createElement("label"), name = document.createElement("span");
    const input = document.createElement("input"), output = document.createElement("output");
    label.className = "slider";
    name.textContent = place + 1;
    Object.assign(input, {type: "range", min: -3, max: 3, step: 0.1, value: 0, id: `${kind}-${place}`});
    output.htmlFor = input.id;
    input.oninput = () => { recipe[kind][place] = Number(input.value); update(); };
    label.append(name, input, output);
    $(kind).append(label);
    sliders[kind].push(input);
  }
}

const NOTES = {
  pca: "The axes along which w varies most (GANSpace), with their share of its variance.",
  affine: "The steps in w that change the styles of the chosen layers most (SeFa), with their share of all change.",
};

const weigh = newest(async () => {
  const found = await ask("strengths", recipe);
  for (const kind of ["pca", "affine"]) {
    sliders[kind].forEach((input, place) => {
      input.previousSibling.textContent = `${place + 1} (${(100 * found[kind][place]).toFixed(1)}%)`;
    });
  }
});

function chooseKind(kind) {
  for (const each of ["pca", "affine"]) $(each).hidden = each !== kind;
  $("kind-note").textContent = NOTES[kind] + " One unit is a standard deviation of w.";
}

const aSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % 1000000;
const whole = input => Math.min(Math.max(Math.trunc(Number(input.value)) || 0, Number(input.min)), Number(input.max));

function fromSeed(seed) {
  past.push({recipe: structuredClone(recipe), origin});
  recipe = {...recipe, seed, w: null};
  update();
}

// ---- files

function save(content, name) {
  const link = document.createElement("a");
  link.href = content instanceof Blob ? URL.createObjectURL(content) : content;
  link.download = name;
  link.click();
  if (content instanceof Blob) setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const fileName = () => (recipe.w ? "image" : `seed${recipe.seed}`);

async function saveStyles(kind) {
  try {
    save(await (await send("styles", {recipe, kind})).blob(), `${fileName()}.${kind}`);
  } catch (error) { complain(error.message); }
}

// ---- the walk

function showStops() {
  $("no-stops").hidden = stops.length > 0;
  $("record").disabled = stops.length < 2;
  $("add").disabled = stops.length >= 24;
  $("stops").replaceChildren(...stops.map((stop, place) => {
    const item = document.createElement("li"), image = new Image(), button = document.createElement("button");
    image.src = stop.image;
    image.alt = `Stop ${place + 1}: ${stop.text}`;
    button.textContent = "x";
    button.setAttribute("aria-label", `Remove stop ${place + 1}`);
    button.onclick = () => { stops.splice(place, 1); showStops(); $("add").focus(); };
    item.append(image, button);
    return item;
  }));
}

let walking = null;
async function record() {
  walking = new AbortController();
  const kind = $("walk-kind").value, asked = {
    stops: stops.map(stop => stop.recipe), frames: whole($("frames")), loop: $("loop").checked, kind,
  };
  for (const id of ["walk-cancel", "walk-progress"]) $(id).hidden = false;
  $("walk-progress").removeAttribute("value");
  $("record").disabled = true;
  complain("");
  try {
    for await (const found of listen("walk", asked, walking.signal)) {
      if (found.file) showFilm(found, kind);
      else Object.assign($("walk-progress"), {max: found.of, value: found.frame});
    }
  } catch (error) { if (error.name !== "AbortError") complain(error.message); }
  for (const id of ["walk-cancel", "walk-progress"]) $(id).hidden = true;
  showStops();
}

async function showFilm(found, kind) {
  const type = kind === "gif" ? "image/gif" : "video/mp4";
  const content = new Blob([Uint8Array.from(atob(found.file), letter => letter.charCodeAt(0))], {type});
  const film = document.createElement(kind === "gif" ? "img" : "video"), button = document.createElement("button");
  film.src = URL.createObjectURL(content);
  if (kind === "gif") film.alt = `Walk through ${stops.length} images`;
  else {
    const moves = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    Object.assign(film, {controls: true, loop: true, muted: true, playsInline: true, autoplay: moves});
    film.setAttribute("aria-label", `Walk through ${stops.length} images`);
  }
  button.textContent = `Save walk.${kind}`;
  button.onclick = () => save(content, `walk.${kind}`);
  const row = document.createElement("div");
  row.className = "row";
  row.append(button);
  $("film").replaceChildren(film, row);
  $("film").hidden = false;
}

// ---- projection

let searching = null, projected = null;
async function project(file) {
  searching?.abort();
  const mine = searching = new AbortController(), steps = whole($("steps"));
  projected = null;
  $("search").hidden = false;
  $("use").disabled = true;
  $("search-cancel").disabled = false;
  $("search-state").textContent = `Reading ${file.name}`;
  $("search-progress").removeAttribute("value");
  complain("");
  const options = new URLSearchParams({space: $("space").value, num_steps: steps, name: file.name});
  if (recipe.class_index !== null) options.set("class_index", recipe.class_index);
  try {
    for await (const found of listen(`project?${options}`, file, mine.signal)) {
      if (mine !== searching) return;
      if (found.target) {
        $("target").src = $("found").src = png(found.target);
        continue;
      }
      if (found.image) $("found").src = png(found.image);
      Object.assign($("search-progress"), {max: steps, value: found.step});
      $("search-state").textContent = `Step ${found.step} of ${steps}, distance ${found.distance.toFixed(4)}`;
      if (found.w) projected = {w: found.w, name: `projection of ${file.name}`};
    }
    $("use").disabled = !projected;
  } catch (error) {
    if (mine !== searching) return;
    $("search-state").textContent = "Stopped";
    if (error.name !== "AbortError") complain(error.message);
    if (!$("search-progress").hasAttribute("value")) $("search").hidden = true;
  }
  $("search-cancel").disabled = true;
}

// ---- everything that can be pressed

function wire() {
  $("seed").onchange = () => fromSeed(whole($("seed")));
  $("random").onclick = () => fromSeed(aSeed());
  $("back").onclick = () => { ({recipe, origin} = past.pop()); weigh(); update(); };
  $("psi").oninput = () => { recipe.psi = Number($("psi").value); update(); };
  $("class").onchange = () => { recipe.class_index = Number($("class").value); weigh(); update(); };
  $("mix-seed").onchange = () => { recipe.mix_seed = whole($("mix-seed")); update(); };
  $("mix-random").onclick = () => { recipe.mix_seed = aSeed(); update(); };
  $("distance").oninput = () => { show(); surround(); };
  $("others").onclick = () => { round += 1; surround(); };
  $("reset").onclick = () => { recipe = {...recipe, pca: zeros(), affine: zeros()}; update(); };
  for (const input of document.getElementsByName("kind")) input.onchange = () => chooseKind(input.value);
  $("save-png").onclick = () => save($("image").src, `${fileName()}.png`);
  for (const button of document.querySelectorAll("[data-styles]")) {
    button.onclick = () => saveStyles(button.dataset.styles);
  }
  $("add").onclick = () => {
    stops.push({recipe: structuredClone(recipe), image: $("image").src, text: $("caption").textContent});
    showStops();
  };
  $("record").onclick = record;
  $("walk-cancel").onclick = () => walking?.abort();
  $("search-cancel").onclick = () => searching?.abort();
  $("use").onclick = () => {
    start(projected.w, projected.name);
    recipe.psi = 1; // the search knows no truncation
    update();
    scrollTo({top: 0});
  };
  $("file").onchange = () => { if ($("file").files[0]) project($("file").files[0]); $("file").value = ""; };
  const take = (event, files) => {
    const file = [...files].find(each => each.type.startsWith("image/") || /\.hei[cf]$/i.test(each.name));
    if (files.length || event.type === "drop") event.preventDefault(); // text is pasted into fields
    if (!files.length) return;
    if (!facts.projects) complain("Images of this generator's kind cannot be projected.");
    else if (file) project(file);
    else complain("This is not an image file, such as a PNG or JPEG.");
  };
  addEventListener("dragover", event => { event.preventDefault(); document.body.classList.add("over"); });
  addEventListener("dragleave", () => document.body.classList.remove("over"));
  addEventListener("drop", event => { document.body.classList.remove("over"); take(event, event.dataTransfer.files); });
  addEventListener("paste", event => take(event, event.clipboardData.files));
}

function begin() {
  const layers = `${facts.layers} layers`, classes = facts.classes.length ? `, ${facts.classes.length} classes` : "";
  $("about").textContent = `${facts.width} x ${facts.height} pixels, ${layers}${classes}`;
  document.body.style.setProperty("--shape", `${facts.width} / ${facts.height}`);
  document.body.classList.toggle("small", Math.max(facts.width, facts.height) < 256);
  Object.assign($("image"), {width: 16 * facts.width, height: 16 * facts.height});
  $("class-field").hidden = !facts.classes.length;
  $("class").append(...facts.classes.map((name, index) => new Option(name, index)));
  $("projection").hidden = !facts.projects;
  addSliders("pca");
  addSliders("affine");
  addLayers("mix-layers", "mix_layers", "Layers of the second seed", () => {});
  addLayers("direction-layers", "layers", "Layers that directions move", weigh);
  wire();
  chooseKind("pca");
  showStops();
  weigh();
  update();
}

begin();
