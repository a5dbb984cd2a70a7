// The live map: published districts and projects as vector tiles, a table beside it for keyboard
// and screen reader. Every text goes in by textContent; nothing is loaded from another host.
const DISTRICTS = '/ogc/collections/published.district_estimate';
const TOTALS = '/ogc/collections/published.total_estimate';
const PROJECTS = '/ogc/collections/published.project_indicator';
const COLOURS = ['#ffffb2', '#fecc5c', '#fd8d3c', '#f03b20', '#bd0026']; // ColorBrewer YlOrRd
const RELIABILITY = {
  publishable: ['#1b7837', 'publishable'],
  indicative: ['#a6dba0', 'indicative: use with care'],
  not_detected: ['#9ecae1', 'not detected in the sample'],
};
const WITHHELD = {
  suppressed: 'no figure: too uncertain to publish',
  status_only: 'no figure: too little is known',
};
const INDICATORS = {
  poppy_household_share: 'Households growing poppy',
  annual_income_usd: 'Household income',
  food_short_months: 'Months short of food',
  ad_satisfaction: 'Satisfaction with the project',
};

const byId = (id) => document.getElementById(id);
const state = { crop: null, measure: 'hectares', chosen: null, breaks: [] };
let districts = [];
let totals = []; // provinces and the country
let projects = new Map();
let map = null; // null until its layers exist
let drawing = null;

function element(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return 'unknown';
  if (value !== 0 && Math.abs(value) < 10) return String(Number(value.toPrecision(2)));
  return Math.round(value).toLocaleString('en');
}

// Equal steps with round limits, as in the mailed map.
function classBreaks(values) {
  const top = Math.max(0, ...values.filter(Number.isFinite));
  if (top <= 0) return [];
  const magnitude = 10 ** Math.floor(Math.log10(top / COLOURS.length));
  const step = [1, 2, 2.5, 5, 10].map((f) => f * magnitude).find((s) => s * COLOURS.length >= top);
  return COLOURS.map((_, i) => step * (i + 1));
}

function figure(row) {
  if (row.disclosure) return `not published: ${row.disclosure}`;
  if (row.reliability === 'not_detected') return `not detected (less than ${number(row.ci_high_ha)} ha)`;
  if (!Number.isFinite(row.value_ha)) return WITHHELD[row.reliability] ?? 'no figure';
  return `${number(row.value_ha)} ha`;
}

function interval(row) {
  if (!Number.isFinite(row.value_ha) || row.reliability === 'not_detected') return '';
  const level = Math.round(100 * row.level);
  return `${number(row.ci_low_ha)} to ${number(row.ci_high_ha)} ha (${level}% interval)`;
}

function fillColour() {
  const match = (colours) => ['match', ['get', 'reliability'], ...colours, 'rgba(0,0,0,0)'];
  if (state.measure === 'reliability') {
    return match(Object.entries(RELIABILITY).flatMap(([name, [colour]]) => [name, colour]));
  }
  const steps = ['step', ['get', 'value_ha'], COLOURS[0]];
  state.breaks.slice(0, -1).forEach((limit, i) => steps.push(limit + limit * 1e-9, COLOURS[i + 1]));
  const colour = steps.length > 3 ? steps : COLOURS[0];
  return ['case', ['==', ['get', 'reliability'], 'not_detected'], RELIABILITY.not_detected[0],
    ['has', 'value_ha'], colour, 'rgba(0,0,0,0)'];
}

function legend() {
  const box = byId('legend');
  const heading = element('h2', state.measure === 'hectares' ? `${state.crop}, hectares` : `${state.crop}, reliability`);
  const list = element('ul');
  const item = (className, text) => {
    const line = element('li');
    const swatch = element('span', '', `swatch ${className}`);
    line.append(swatch, element('span', text));
    list.append(line);
    return swatch;
  };
  // The class map lies over the colours of the districts: only one of the two is explained.
  if (state.classMap && byId('show-class-map').checked) {
    heading.textContent = 'Class map: pixels, not an estimate';
    Object.values(state.classMap.classes).forEach(({ name, colour }) => { item('', name).style.background = colour; });
    item('none', 'not observed');
  } else {
    if (state.measure === 'hectares') {
      state.breaks.forEach((limit, i) => item(`c${i}`, `${number(i ? state.breaks[i - 1] : 0)} to ${number(limit)}`));
      item('not_detected', 'not detected');
    } else {
      Object.entries(RELIABILITY).forEach(([name, [, text]]) => item(name, text));
    }
    item('none', 'no published figure');
  }
  if (projects.size) item('project', 'AD project');
  box.replaceChildren(heading, list);
}

function facts(pairs) {
  const list = element('dl');
  pairs.filter(([, value]) => value !== '' && value !== null && value !== undefined)
    .forEach(([name, value]) => list.append(element('dt', name), element('dd', String(value))));
  return list;
}

const keyOf = (row) => row.district_pcode ?? `${row.admin_level} ${row.domain_id}`;

function nameOf(row) {
  if (row.district_name) return row.district_name;
  return row.admin_level === 'country' ? 'Country' : row.domain_name;
}

function showFigure(row, focus) {
  state.chosen = keyOf(row);
  const box = byId('detail');
  const place = row.province_name ?? row.admin_level;
  box.replaceChildren(
    element('h3', nameOf(row)),
    element('div', `${row.crop}, ${place}, harvest ${row.harvest_year}`, 'muted'),
    element('div', figure(row), 'figure'),
    element('div', interval(row)),
    facts([
      ['Reliability', row.reliability.replace('_', ' ')],
      ['In the sample', { detected: 'found', not_detected: 'not found', not_sampled: 'no segment visited', withheld: 'withheld' }[row.status]],
      ['Segments visited', row.n_segments ?? 'withheld'],
      ['Kind of figure', row.estimate_type.replace('_', ' ')],
      ['Method', row.method.replaceAll('_', ' ')],
      ['Comparable with years of', row.method_version],
      ['Why this method', row.why],
      ['Not seen by satellite', row.unobserved_share == null ? 'withheld' : `${Math.round(100 * row.unobserved_share)}% of the risk area`],
      ['Reference date', row.reference_date],
    ]),
  );
  refreshTable();
  if (map) map.setFilter('chosen', ['all', ['==', ['get', 'crop'], state.crop], ['==', ['get', 'district_pcode'], state.chosen]]);
  if (focus) box.focus();
}

function amount(value, unit) {
  return unit === 'share' ? `${Math.round(100 * value)}%` : number(value);
}

function showProject(rows, focus) {
  const first = rows[0];
  const table = element('table');
  const head = element('tr');
  ['Indicator', 'Baseline', 'Latest', 'Target'].forEach((text) => head.append(element('th', text)));
  table.append(head);
  rows.forEach((row) => {
    const line = element('tr');
    let latest = 'not measured';
    if (row.disclosure) latest = 'not published: too few respondents';
    else if (Number.isFinite(row.latest_value)) {
      latest = amount(row.latest_value, row.unit);
      if (Number.isFinite(row.latest_ci_low)) latest += ` (${amount(row.latest_ci_low, row.unit)}–${amount(row.latest_ci_high, row.unit)})`;
      latest += `, n = ${row.n_respondents}`;
    }
    const indicator = element('td', INDICATORS[row.indicator_code] ?? row.indicator_code);
    if (row.unit !== 'share') indicator.append(element('div', row.unit, 'muted'));
    line.append(
      indicator,
      element('td', `${amount(row.baseline_value, row.unit)} (${row.baseline_year})`),
      element('td', latest),
      element('td', Number.isFinite(row.target_value) ? amount(row.target_value, row.unit) : 'none'),
    );
    table.append(line);
  });
  const box = byId('detail');
  box.replaceChildren(
    element('h3', first.project_name),
    element('div', `AD project ${first.project_id}, since ${first.start_year}, districts ${first.district_pcodes.replaceAll(';', ', ')}`, 'muted'),
    table,
    element('p', 'A change since the baseline is not yet the effect of the project: nothing is compared here.', 'muted'),
  );
  if (focus) box.focus();
}

function swatchOf(row) {
  if (state.measure === 'reliability') return RELIABILITY[row.reliability] ? row.reliability : 'none';
  if (row.reliability === 'not_detected') return 'not_detected';
  if (!Number.isFinite(row.value_ha)) return 'none';
  return `c${Math.max(0, state.breaks.findIndex((limit) => row.value_ha <= limit * (1 + 1e-9)))}`;
}

function refreshTable() {
  const rows = districts.filter((row) => row.crop === state.crop)
    .sort((a, b) => (b.value_ha ?? -1) - (a.value_ha ?? -1) || a.district_name.localeCompare(b.district_name));
  byId('districts').tBodies[0].replaceChildren(...rows.map((row) => tableRow(row, swatchOf(row))));
  const order = (row) => (row.admin_level === 'country' ? '' : row.domain_name);
  byId('totals').tBodies[0].replaceChildren(...totals.filter((row) => row.crop === state.crop)
    .sort((a, b) => order(a).localeCompare(order(b))).map((row) => tableRow(row)));
}

function tableRow(row, swatch) {
  const line = element('tr');
  if (keyOf(row) === state.chosen) line.className = 'chosen';
  const name = element('td');
  const button = element('button', nameOf(row));
  button.type = 'button';
  button.addEventListener('click', () => showFigure(row, true));
  if (swatch) name.append(element('span', '', `tag ${swatch}`));
  name.append(button);
  let value = '–';
  if (row.reliability === 'not_detected' && Number.isFinite(row.ci_high_ha)) value = `< ${number(row.ci_high_ha)}`;
  else if (Number.isFinite(row.value_ha)) value = `${number(row.value_ha)} (${number(row.ci_low_ha)}–${number(row.ci_high_ha)})`;
  line.append(name, element('td', value, 'number'), element('td', row.disclosure ? 'withheld' : row.reliability.replace('_', ' ')));
  return line;
}

function refresh() {
  const rows = districts.filter((row) => row.crop === state.crop);
  state.breaks = classBreaks(rows.filter((row) => row.reliability !== 'not_detected').map((row) => row.value_ha ?? NaN));
  legend();
  if (map) {
    const ofCrop = ['==', ['get', 'crop'], state.crop];
    const hidden = ['any', ['!', ['has', 'value_ha']], ['!=', ['get', 'disclosure'], '']];
    map.setFilter('fill', ofCrop);
    map.setFilter('hatch', ['all', ofCrop, hidden]);
    map.setFilter('outline', ofCrop);
    map.setPaintProperty('fill', 'fill-color', fillColour());
    map.setFilter('chosen', ['all', ofCrop, ['==', ['get', 'district_pcode'], state.chosen ?? '']]);
  }
  const chosen = [...rows, ...totals].find((row) => row.crop === state.crop && keyOf(row) === state.chosen);
  if (chosen) showFigure(chosen, false);
  else refreshTable();
}

function hatch() {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 8;
  const pen = canvas.getContext('2d');
  pen.fillStyle = '#ffffff';
  pen.fillRect(0, 0, 8, 8);
  pen.strokeStyle = '#b0bbc2';
  pen.lineWidth = 1.6;
  for (const shift of [-8, 0, 8]) {
    pen.beginPath();
    pen.moveTo(shift, 8);
    pen.lineTo(shift + 8, 0);
    pen.stroke();
  }
  return pen.getImageData(0, 0, 8, 8);
}

function addLayers(classMap) {
  const tiles = (collection) => [`${location.origin}${collection}/tiles/WebMercatorQuad/{z}/{x}/{y}`];
  map.addImage('hatch', hatch());
  map.addSource('districts', { type: 'vector', tiles: tiles(DISTRICTS), maxzoom: 12 });
  map.addSource('projects', { type: 'vector', tiles: tiles(PROJECTS), maxzoom: 12 });
  const of = (id, type, paint, source = 'districts') => map.addLayer({ id, type, source, 'source-layer': 'default', paint });
  of('fill', 'fill', { 'fill-color': '#ffffff', 'fill-opacity': 0.85 });
  of('hatch', 'fill', { 'fill-pattern': 'hatch' });
  if (classMap) {
    state.classMap = classMap;
    map.addSource('class-map', { type: 'raster', tiles: [`${location.origin}/raster/${classMap.layer_id}/tiles/WebMercatorQuad/{z}/{x}/{y}.png?tilesize=256`], tileSize: 256 });
    map.addLayer({ id: 'class-map', type: 'raster', source: 'class-map', layout: { visibility: 'none' }, paint: { 'raster-resampling': 'nearest' } });
    byId('class-map-choice').hidden = false;
    byId('show-class-map').addEventListener('change', (event) => {
      map.setLayoutProperty('class-map', 'visibility', event.target.checked ? 'visible' : 'none');
      legend();
    });
  }
  of('outline', 'line', { 'line-color': '#46555e', 'line-width': 1 });
  of('projects', 'line', { 'line-color': '#08519c', 'line-width': 2.5, 'line-dasharray': [3, 2] }, 'projects');
  of('chosen', 'line', { 'line-color': '#111111', 'line-width': 3.5 });
  byId('show-projects').addEventListener('change', (event) => {
    map.setLayoutProperty('projects', 'visibility', event.target.checked ? 'visible' : 'none');
  });
  map.on('click', 'fill', (event) => {
    const code = event.features[0].properties.district_pcode;
    const row = districts.find((one) => one.crop === state.crop && one.district_pcode === code);
    if (row) showFigure(row, false);
  });
  map.on('mouseenter', 'fill', () => { map.getCanvas().style.cursor = 'pointer'; });
  map.on('mouseleave', 'fill', () => { map.getCanvas().style.cursor = ''; });
}

function addNames(features) {
  const named = new Map(features.map((f) => [f.properties.district_pcode, f]));
  named.forEach((feature) => {
    const [west, south, east, north] = bounds([feature]);
    new maplibregl.Marker({ element: element('div', feature.properties.district_name, 'district-name') })
      .setLngLat([(west + east) / 2, (south + north) / 2]).addTo(map);
  });
}

function bounds(features) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  const visit = (part) => {
    if (typeof part[0] === 'number') {
      box[0] = Math.min(box[0], part[0]); box[1] = Math.min(box[1], part[1]);
      box[2] = Math.max(box[2], part[0]); box[3] = Math.max(box[3], part[1]);
    } else part.forEach(visit);
  };
  features.forEach((feature) => visit(feature.geometry.coordinates));
  return box;
}

async function ask(path) {
  const answer = await fetch(path, { headers: { Accept: 'application/geo+json, application/json' } });
  if (answer.status === 401) window.location.assign('/sign-in?next=%2F');
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

async function start() {
  const [districtAnswer, totalAnswer, projectAnswer, layers] = await Promise.all([
    ask(`${DISTRICTS}/items?limit=1000&bbox-only=true`),
    ask(`${TOTALS}/items?limit=1000&bbox-only=true`),
    ask(`${PROJECTS}/items?limit=1000&bbox-only=true`),
    ask('/layers'),
  ]);
  byId('outdated').textContent = layers.outdated ?? '';
  const features = districtAnswer.features;
  if (!features.length) {
    byId('notice').textContent = 'Nothing is loaded yet. Run: adsurvey load FOLDER';
    return;
  }
  const year = Math.max(...features.map((f) => f.properties.harvest_year));
  byId('year').textContent = `harvest ${year}`;
  const current = features.filter((f) => f.properties.harvest_year === year);
  districts = current.map((f) => f.properties);
  totals = totalAnswer.features.map((f) => f.properties).filter((row) => row.harvest_year === year);
  projectAnswer.features.forEach(({ properties }) => {
    if (!projects.has(properties.project_id)) projects.set(properties.project_id, []);
    projects.get(properties.project_id).push(properties);
  });
  byId('projects').replaceChildren(...[...projects.values()].map((rows) => {
    const item = element('li');
    const button = element('button', `${rows[0].project_name} (${rows[0].district_pcodes.replaceAll(';', ', ')})`);
    button.type = 'button';
    button.addEventListener('click', () => showProject(rows, true));
    item.append(button);
    return item;
  }));
  if (!projects.size) byId('projects').append(element('li', 'No project with a baseline is loaded.', 'muted'));
  const crops = [...new Set(districts.map((row) => row.crop))].sort((a, b) => (b === 'poppy') - (a === 'poppy') || a.localeCompare(b));
  [state.crop] = crops;
  byId('crops').replaceChildren(...crops.map((crop) => {
    const label = element('label');
    const input = element('input');
    Object.assign(input, { type: 'radio', name: 'crop', value: crop, checked: crop === state.crop });
    label.append(input, element('span', crop));
    return label;
  }));
  byId('controls').addEventListener('change', (event) => {
    if (event.target.name === 'crop') state.crop = event.target.value;
    if (event.target.name === 'measure') state.measure = event.target.value;
    if (event.target.name) refresh();
  });
  byId('detail').replaceChildren(element('p', 'Choose a district on the map or in the table.', 'muted'));
  const [west, south, east, north] = bounds(current);
  drawing = new maplibregl.Map({
    container: 'map',
    attributionControl: false,
    style: { version: 8, sources: {}, layers: [{ id: 'ground', type: 'background', paint: { 'background-color': '#e8eef1' } }] },
    bounds: [[west, south], [east, north]],
    fitBoundsOptions: { padding: 36 },
  });
  drawing.addControl(new maplibregl.NavigationControl({ showCompass: false }), 'top-right');
  drawing.addControl(new maplibregl.ScaleControl({ unit: 'metric' }), 'bottom-left');
  drawing.on('error', (event) => { byId('notice').textContent = `The map could not be drawn: ${event.error?.message ?? 'unknown reason'}`; });
  drawing.on('load', () => {
    map = drawing;
    addLayers(layers.raster[0]);
    addNames(current);
    refresh();
    map.once('idle', () => {
      byId('notice').textContent = '';
      document.body.dataset.ready = 'true';
    });
  });
  refresh();
}

start().catch((error) => {
  byId('notice').textContent = `The data could not be read (${error.message}). Is the service still running?`;
});

// Links that this reader's role does not reach would only lead to a refusal.
fetch('/whoami').then((answer) => (answer.ok ? answer.json() : null)).then((reader) => {
  document.querySelectorAll('[data-layer]').forEach((part) => { part.hidden = reader !== null && !reader.sees.includes(part.dataset.layer); });
});
