// The field page: uploads that go on after a dropped line, what was sent, codes for phones.
// Every text goes in by textContent; nothing is loaded from another host.
const byId = (id) => document.getElementById(id);
const PIECE = 128 * 1024;
const PATIENCE = 8; // tries in a row without a byte arriving
const SAY = { received: 'waits for review', flagged: 'waits for review', accepted: 'accepted', rejected: 'sent back', withdrawn: 'withdrawn' };

function element(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

const wait = (ms) => new Promise((done) => { setTimeout(done, ms); });
const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

async function digest(file) {
  if (!globalThis.crypto?.subtle) return ''; // plain http: the length is checked all the same
  const bytes = new Uint8Array(await crypto.subtle.digest('SHA-256', await file.arrayBuffer()));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

class Refusal extends Error {}

async function ask(url, options) {
  const answer = await fetch(url, options);
  if (answer.status >= 500) throw new TypeError(`answer ${answer.status}`);
  if (answer.status === 401) throw new Refusal('Your sign-in has run out: sign in again, then upload again; what arrived is kept.');
  return answer;
}

const detail = async (answer) => {
  try { return (await answer.json()).detail ?? `answer ${answer.status}`; } catch { return `answer ${answer.status}`; }
};

async function begin(file, sha256, mapping) {
  const told = { filename: file.name, sha256, mapping };
  const pairs = Object.entries(told).filter(([, value]) => value).map(([name, value]) => `${name} ${base64(value)}`);
  const answer = await ask('/forms/uploads', { method: 'POST', headers: { 'Upload-Length': String(file.size), 'Upload-Metadata': pairs.join(',') } });
  if (answer.status !== 201) throw new Refusal(await detail(answer));
  return answer.headers.get('Location');
}

async function standsAt(place) {
  const answer = await ask(place, { method: 'HEAD' });
  return answer.status === 200 ? Number(answer.headers.get('Upload-Offset')) : null;
}

// A dropped line costs one piece at most. The place of an upload is remembered over a reload.
async function send(file, mapping) {
  const sha256 = await digest(file);
  const memory = `upload ${sha256 || `${file.name} ${file.lastModified}`} ${file.size} ${mapping.length}`;
  let place = localStorage.getItem(memory);
  let failures = 0;
  let reached = -1;
  for (;;) {
    try {
      let offset = place ? await standsAt(place) : null;
      if (offset === null) {
        place = await begin(file, sha256, mapping);
        localStorage.setItem(memory, place);
        offset = 0;
      }
      while (offset < file.size) {
        if (offset > reached) { failures = 0; reached = offset; }
        byId('progress').value = offset / file.size;
        const answer = await ask(place, {
          method: 'PATCH',
          headers: { 'Content-Type': 'application/offset+octet-stream', 'Upload-Offset': String(offset) },
          body: file.slice(offset, offset + PIECE),
        });
        if (answer.status !== 204) throw new TypeError(await detail(answer));
        offset = Number(answer.headers.get('Upload-Offset'));
      }
      byId('progress').value = 1;
      const answer = await ask(`${place}/import`, { method: 'POST' });
      if (answer.status === 409) throw new TypeError(await detail(answer));
      const content = await answer.json();
      if (!('accepted' in content)) throw new Refusal(content.detail ?? `answer ${answer.status}`);
      localStorage.removeItem(memory);
      return { ...content, place };
    } catch (error) {
      if (error instanceof Refusal) throw error;
      failures += 1;
      if (failures > PATIENCE) throw new Refusal('The line is too bad just now. Upload the same file again later: it goes on where it stopped.');
      const seconds = Math.min(30, 2 ** failures);
      byId('state').textContent = `The line dropped; trying again in ${seconds} seconds.`;
      await wait(seconds * 1000);
    }
  }
}

function summary(report) {
  if (!report.accepted) return 'refused: nothing of it was taken; correct it and send all of it again';
  const parts = [`${report.n_new} new`, `${report.n_known} known already`];
  if (report.n_conflict) parts.push(`${report.n_conflict} in conflict, kept for review`);
  if (report.n_withdrawn) parts.push(`${report.n_withdrawn} withdrawn, not kept`);
  return `taken: ${parts.join(', ')}`;
}

function show(name, report) {
  const box = element('article');
  box.append(element('h3', name), element('p', summary(report), report.accepted ? 'taken' : 'refused'));
  if (!report.accepted && report.place) {
    const link = element('a', 'Sheet to correct and send back (.xlsx)');
    link.href = `${report.place}/report.xlsx`;
    box.append(link);
  }
  const list = element('ul');
  report.problems.forEach(({ sheet, row, field, value, problem, remedy }) => {
    const where = [sheet ? `sheet ${sheet}` : '', row === null || row === undefined ? '' : `row ${row}`, field].filter(Boolean).join(', ');
    const line = element('li');
    if (where) line.append(element('strong', `${where} `));
    if (value) line.append(element('code', value), ' ');
    line.append(problem);
    if (remedy) line.append(element('div', remedy, 'muted'));
    list.append(line);
  });
  box.append(list);
  byId('reports').append(box);
}

byId('upload').addEventListener('submit', async (event) => {
  event.preventDefault();
  const files = [...byId('files').files];
  const mapping = byId('mapping').files.length ? await byId('mapping').files[0].text() : '';
  const button = event.target.querySelector('button');
  byId('reports').replaceChildren();
  button.disabled = true;
  byId('progress').hidden = false;
  let sent = 0;
  for (const [number, file] of files.entries()) {
    byId('state').textContent = `Sending ${number + 1} of ${files.length}: ${file.name}`;
    try {
      show(file.name, await send(file, mapping));
      sent += 1;
    } catch (error) {
      show(file.name, { accepted: false, problems: [{ problem: error.message }] });
    }
  }
  byId('progress').hidden = true;
  button.disabled = false;
  byId('state').textContent = `${sent} of ${files.length} files sent.`;
  await standing();
});

const day = (text) => text.slice(0, 10);
const plain = (form) => form.replaceAll('_', ' ');

function table(counts) {
  const forms = [...new Set(counts.map(({ form }) => form))];
  const states = ['waits for review', 'accepted', 'sent back'];
  const made = element('table');
  const head = made.createTHead().insertRow();
  ['', ...states].forEach((text) => head.append(element('th', text)));
  const body = made.createTBody();
  forms.forEach((form) => {
    const row = body.insertRow();
    row.append(element('th', plain(form)));
    states.forEach((state) => {
      const n = counts.filter((each) => each.form === form && SAY[each.state] === state).reduce((sum, each) => sum + each.n, 0);
      row.append(element('td', n ? String(n) : '–'));
    });
  });
  return made;
}

function listed(title, entries) {
  const box = element('div');
  box.append(element('h3', title));
  const list = element('ul');
  entries.forEach(([strong, text]) => {
    const line = element('li');
    line.append(element('strong', strong), element('div', text, 'muted'));
    list.append(line);
  });
  box.append(list);
  return box;
}

async function standing() {
  const answer = await fetch('/field/status');
  if (!answer.ok) {
    byId('standing').replaceChildren(element('p', answer.status === 404 ? 'This service receives no submissions.' : 'Not to be had just now.', 'muted'));
    return;
  }
  const told = await answer.json();
  byId('who').textContent = `${told.title} · signed in as ${told.name}`;
  byId('training').hidden = !told.is_training;
  byId('standing').replaceChildren(told.counts.length ? table(told.counts) : element('p', 'Nothing arrived from you yet.', 'muted'));
  if (told.sent_back.length) {
    byId('standing').append(listed('Sent back by the review', told.sent_back.map((each) => [`${plain(each.form)} of ${day(each.received_at)} (${each.instance_id})`, each.reason])));
  }
  if (told.refused.length) {
    byId('standing').append(listed('Refused files', told.refused.map((each) => [`${each.file} of ${day(each.received_at)}`, `${each.n_problems} problems; the first: ${each.first_problem}`])));
  }
  byId('add-phone').hidden = !told.makes_codes;
  byId('phones-note').textContent = told.makes_codes ? 'Each phone has its own secret. Remove a phone that is lost.' : 'The office sets up phones.';
  byId('phones').replaceChildren(...told.phones.map(({ device_id, made }) => {
    const line = element('li', `${device_id}, since ${day(made)} `);
    const button = element('button', 'Remove', 'quiet');
    button.type = 'button';
    button.addEventListener('click', async () => {
      await fetch(`/field/phones/${device_id}/revoke`, { method: 'POST' });
      await standing();
    });
    line.append(button);
    return line;
  }));
}

byId('add-phone').addEventListener('click', async (event) => {
  event.target.disabled = true;
  const answer = await fetch('/field/phones', { method: 'POST' });
  event.target.disabled = false;
  if (answer.status !== 201) {
    byId('phones-note').textContent = await detail(answer);
    return;
  }
  const { picture } = await answer.json();
  byId('qr').src = picture;
  byId('save').href = picture;
  byId('code').hidden = false;
  await standing();
});

standing();
fetch('/forms').then((answer) => answer.json()).then(({ forms }) => {
  forms.forEach((form, i) => {
    const link = element('a', plain(form));
    link.href = `/forms/${form}.xlsx`;
    byId('forms').append(i ? ', ' : '', link);
  });
});
