// Uploads files one after the other and shows what became of each. Every text goes in by
// textContent; nothing is loaded from another host.
const byId = (id) => document.getElementById(id);

function element(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function summary(report) {
  if (!report.accepted) return 'refused: nothing of it was taken; correct it and send all of it again';
  const parts = [`${report.n_new} new`, `${report.n_known} known already`];
  if (report.n_conflict) parts.push(`${report.n_conflict} in conflict, kept for review`);
  return `taken: ${parts.join(', ')}`;
}

function show(name, report) {
  const box = element('article');
  box.append(element('h2', name), element('p', summary(report), report.accepted ? 'taken' : 'refused'));
  const list = element('ul');
  report.problems.forEach(({ row, field, value, problem, remedy }) => {
    const where = [row === null || row === undefined ? '' : `row ${row}`, field].filter(Boolean).join(', ');
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

async function send(file) {
  const body = new FormData();
  body.append('file', file);
  const answer = await fetch('/forms/submissions', { method: 'POST', body });
  const content = await answer.json();
  if (answer.status === 200 || answer.status === 201 || (answer.status === 422 && 'accepted' in content)) show(file.name, content);
  else show(file.name, { accepted: false, problems: [{ field: '', value: '', problem: content.detail ?? `answer ${answer.status}`, remedy: '' }] });
}

byId('upload').addEventListener('submit', async (event) => {
  event.preventDefault();
  const files = [...byId('files').files];
  const button = event.target.querySelector('button');
  byId('reports').replaceChildren();
  button.disabled = true;
  let failed = '';
  for (const [number, file] of files.entries()) {
    byId('state').textContent = `Sending ${number + 1} of ${files.length}: ${file.name}`;
    try {
      await send(file);
    } catch {
      failed = `${file.name} did not arrive: check the connection and upload again; what was taken already stays.`;
      break;
    }
  }
  button.disabled = false;
  byId('state').textContent = failed || `${files.length} of ${files.length} files sent.`;
});

fetch('/forms').then((answer) => answer.json()).then(({ forms }) => {
  forms.forEach((form, i) => {
    const link = element('a', form.replaceAll('_', ' '));
    link.href = `/forms/${form}.xlsx`;
    byId('forms').append(i ? ', ' : '', link);
  });
});
