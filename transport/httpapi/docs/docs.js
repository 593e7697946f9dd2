// Shows /openapi.json. All text is set as text, never as markup.
'use strict';

const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
};

const nameOf = (ref) => ref.replace('#/components/schemas/', '');

// typeOf says in a few words what a schema is; references become links.
const typeOf = (schema) => {
  if (!schema) return make('span', {}, 'any');
  if (schema.$ref) return make('a', { href: '#schema-' + nameOf(schema.$ref) }, nameOf(schema.$ref));
  if (schema.oneOf) {
    const list = make('span');
    schema.oneOf.forEach((s, i) => list.append(i ? ' | ' : '', typeOf(s)));
    return list;
  }
  if (schema.type === 'array') return make('span', {}, 'list of ', typeOf(schema.items));
  const words = [[].concat(schema.type ?? 'any').join(' or ')];
  if (schema.format) words.push(schema.format);
  if (schema.enum) words.push(schema.enum.join(' | '));
  if (schema.pattern) words.push(schema.pattern);
  for (const [key, sign] of [['minimum', '≥'], ['maximum', '≤'], ['minLength', 'length ≥'], ['maxLength', 'length ≤'], ['minItems', 'items ≥'], ['maxItems', 'items ≤']]) {
    if (schema[key] !== undefined) words.push(sign + ' ' + schema[key]);
  }
  if (schema.default !== undefined) words.push('default ' + schema.default);
  return make('span', {}, words.join(', '));
};

const table = (head, rows) => rows.length === 0 ? null : make('table', {},
  make('thead', {}, make('tr', {}, ...head.map((h) => make('th', {}, h)))),
  make('tbody', {}, ...rows.map((row) => make('tr', {}, ...row.map((cell) => make('td', {}, cell))))));

const fields = (schema) => table(['field', 'type', ''],
  Object.entries(schema.properties ?? {}).map(([name, s]) => [
    make('code', {}, name + ((schema.required ?? []).includes(name) ? '' : '?')), typeOf(s), s.description ?? '',
  ]));

const operation = (path, method, op) => {
  const body = op.requestBody?.content['application/json'].schema;
  return make('details', { 'data-text': [path, method, op.summary, op.operationId].join(' ').toLowerCase() },
    make('summary', {}, make('span', { class: 'method' }, method.toUpperCase()), make('code', {}, path), make('span', { class: 'summary' }, op.summary)),
    make('div', {},
      op.description ? make('p', {}, op.description) : null,
      table(['parameter', 'in', 'type', ''], (op.parameters ?? []).map((p) => [
        make('code', {}, p.name + (p.required ? '' : '?')), p.in, typeOf(p.schema), p.description ?? ''])),
      body ? make('p', {}, 'Body: ', typeOf(body)) : null,
      table(['status', 'answer', ''], Object.entries(op.responses).map(([status, r]) => [
        status, typeOf(Object.values(r.content ?? {})[0]?.schema ?? { type: 'nothing' }), r.description]))));
};

const show = (api) => {
  document.getElementById('about').replaceChildren(api.info.description + ' ', make('a', { href: '/openapi.json' }, '/openapi.json'));
  const operations = document.getElementById('operations');
  for (const tag of api.tags) {
    operations.append(make('h2', {}, tag.name), make('p', {}, tag.description));
    for (const path of Object.keys(api.paths).sort()) {
      for (const method of ['get', 'post', 'put', 'patch', 'delete']) {
        const op = api.paths[path][method];
        if (op?.tags.includes(tag.name)) operations.append(operation(path, method, op));
      }
    }
  }
  const schemas = document.getElementById('schemas');
  schemas.append(make('h2', {}, 'schemas'));
  for (const name of Object.keys(api.components.schemas).sort()) {
    const schema = api.components.schemas[name];
    schemas.append(make('details', { id: 'schema-' + name, 'data-text': (name + ' ' + Object.keys(schema.properties ?? {}).join(' ')).toLowerCase() },
      make('summary', {}, make('code', {}, name)),
      make('div', {}, schema.description ? make('p', {}, schema.description) : null, schema.oneOf ? typeOf(schema) : fields(schema))));
  }
  document.getElementById('find').addEventListener('input', (event) => {
    const words = event.target.value.toLowerCase();
    for (const entry of document.querySelectorAll('details')) entry.hidden = !entry.dataset.text.includes(words);
  });
};

const openTarget = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) { target.hidden = false; target.open = true; target.scrollIntoView(); }
};
addEventListener('hashchange', openTarget);

fetch('/openapi.json')
  .then((answer) => answer.ok ? answer.json() : Promise.reject(new Error('status ' + answer.status)))
  .then((api) => { show(api); openTarget(); })
  .catch((error) => { document.getElementById('about').textContent = 'The document could not be read: ' + error.message; });
