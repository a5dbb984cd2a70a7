// A form filled as ODK's web forms fill it. One request a line of standard input:
//   {"xform": XML, "answers": [[question, value, kind]], "wrong": [[question, value, kind, right]]}
// One line of output: {"before": [...], "refused": {...}, "after": [...], "status", "xml"}
// where before and after name the questions that the engine objects to.
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { JSDOM } from 'jsdom';

// The engine is an ES module, its parser is not and looks for these; its DOM is a browser's.
globalThis.require = createRequire(import.meta.url);
globalThis.__dirname = dirname(require.resolve('@getodk/xforms-engine'));
const { window } = new JSDOM('');
globalThis.window = window;
for (const name of Object.getOwnPropertyNames(window)) {
  if (/^(document$|DOM|XML|XPath|Node|Element|Document|Text|Attr|Comment|CDATA|Processing|HTMLElement|Blob|File|FormData|TreeWalker|NamedNodeMap|CharacterData)/.test(name)) {
    globalThis[name] = window[name];
  }
}
const { createInstance } = await import('@getodk/xforms-engine');

const leaf = (reference) => (reference ?? '').split('/').pop();
const objections = (root) => (root.validationState?.violations ?? []).map((it) => leaf(it.reference));

function find(node, name) {
  const state = node.currentState;
  if (leaf(state?.reference) === name && (node.setValue || node.selectValue || node.selectValues)) return node;
  for (const child of state?.children ?? []) {
    const found = find(child, name);
    if (found) return found;
  }
  return null;
}

function answer(root, name, value, kind) {
  const node = find(root, name);
  if (!node) throw new Error(`the form does not ask ${name}`);
  if (kind === 'choices') node.selectValues(value.split(' '));
  else if (node.selectValue) node.selectValue(value);
  else if (kind === 'integer') node.setValue(BigInt(value));
  else if (kind === 'decimal') node.setValue(Number(value));
  else if (kind === 'geopoint') {
    const [latitude, longitude, altitude, accuracy] = value.split(' ').map(Number);
    node.setValue({ latitude, longitude, altitude, accuracy });
  } else node.setValue(value);
}

function text(file) {
  return new Promise((resolve) => {
    const reader = new window.FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsText(file);
  });
}

async function fill({ xform, answers, wrong }) {
  const form = {
    fetchFormAttachment: async () => { throw new Error('no attachments here'); },
    missingResourceBehavior: 'BLANK',
  };
  const instance = await createInstance(xform, { form, instance: {} });
  const root = instance.root ?? instance;
  answers.forEach(([name, value, kind]) => answer(root, name, value, kind));
  const before = objections(root);
  const refused = {};
  for (const [name, value, kind, right] of wrong) {
    answer(root, name, value, kind);
    // A list cannot be answered with what it does not offer: the old answer stays.
    const node = find(root, name);
    const isOffered = kind === 'choices' || !node.selectValue || String(node.currentState.value) === value;
    refused[`${name}=${value}`] = !isOffered || objections(root).includes(name);
    answer(root, name, right, kind);
  }
  const payload = await root.prepareInstancePayload({ payloadType: 'monolithic' });
  const xml = await text(payload.data[0].get('xml_submission_file'));
  return { before, refused, after: objections(root), status: payload.status, xml };
}

for await (const line of createInterface({ input: process.stdin })) {
  const result = await fill(JSON.parse(line)).catch((error) => ({ error: String(error.stack) }));
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
