// The live page. It knows what every client of the service may know: what it shows is what its user may see. Everything that
// comes from the service is text: nothing of it is ever read as HTML.

const base = location.pathname.replace(/\/_dashboard\/?$/, '');
/** How many events the tail keeps, and how many channels one stream may have. */
const KEPT = 500;
const MOST_CHANNELS = 32;
const SECOND = 1_000;
const WINDOW = 5;

const $ = (id) => document.getElementById(id);
const element = (tag, text = '', kind = '') => Object.assign(document.createElement(tag), { textContent: text, className: kind });
const row = (...cells) => {
  const made = document.createElement('tr');
  made.append(...cells);
  return made;
};

let token = sessionStorage.getItem('token') ?? '';
let source;
let position = '';
let streamed = '';
let paused = false;
let held = [];
/** Events of each channel in each of the last seconds. */
const counted = new Map();

async function ask(path, options = {}) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(`${base}${path}`, { ...options, headers });
  const body = await answer.json();
  if (!answer.ok && !body.parts) throw new Error(body.error?.message ?? `${answer.status}`);
  return body;
}

const query = async (procedure) => (await ask(`/trpc/${procedure}`)).result.data;

function tell(error) {
  $('fault').hidden = !error;
  $('fault').textContent = error ?? '';
}

function matches(envelope) {
  const { channel, text } = $('filter').elements;
  if (channel.value && envelope.channel !== channel.value) return false;
  return !text.value || JSON.stringify(envelope).toLowerCase().includes(text.value.toLowerCase());
}

function line(envelope) {
  const made = element('li', '', envelope.name === 'pubsub:gap' ? 'gap' : '');
  made.append(element('span', envelope.timestamp.slice(11, 23)), element('span', envelope.channel), element('b', envelope.name));
  made.append(element('pre', JSON.stringify(envelope.payload ?? envelope.payloadBase64)));
  made.envelope = envelope;
  made.hidden = !matches(envelope);
  return made;
}

function show(envelopes) {
  $('tail').prepend(...envelopes.map(line).reverse());
  while ($('tail').childElementCount > KEPT) $('tail').lastElementChild.remove();
}

function hear({ data, lastEventId }) {
  position = lastEventId;
  const envelope = JSON.parse(data);
  const seconds = counted.get(envelope.channel) ?? [];
  counted.set(envelope.channel, seconds);
  seconds[0] = (seconds[0] ?? 0) + 1;
  if (!paused) return show([envelope]);
  held.push(envelope);
  held = held.slice(-KEPT);
  $('connection').textContent = `paused, ${held.length} more`;
}

/** One stream over all channels; opened again with a new ticket when it breaks, behind the last event. */
async function listen(channels) {
  source?.close();
  streamed = channels.join(' ');
  if (channels.length === 0) return;
  const asked = new URLSearchParams(channels.map((channel) => ['channel', channel]));
  asked.set('named', 'false');
  if (position) asked.set('lastEventId', position);
  try {
    if (token) asked.set('ticket', (await ask('/sse-ticket', { method: 'POST' })).ticket);
  } catch (error) {
    tell(error.message);
    return void setTimeout(() => streamed === channels.join(' ') && listen(channels), SECOND);
  }
  const opened = new EventSource(`${base}/events?${asked}`);
  source = opened;
  opened.onopen = () => ($('connection').textContent = paused ? 'paused' : 'live');
  opened.onmessage = hear;
  opened.onerror = () => {
    opened.close();
    if (source !== opened) return;
    $('connection').textContent = 'comes back';
    setTimeout(() => source === opened && listen(channels), SECOND);
  };
}

function showChannels(channels) {
  const rate = (name) => {
    const all = counted.get(name) ?? [];
    return (Array.from({ length: WINDOW }, (_, n) => all[n] ?? 0).reduce((sum, n) => sum + n, 0) / WINDOW).toFixed(1);
  };
  $('channels').replaceChildren(
    ...channels.map((channel) => {
      const name = element('td', channel.name);
      if (channel.description) name.append(element('div', channel.description, 'soft'));
      const speed = element('td', channel.pattern ? '' : rate(channel.name), 'number');
      return row(name, speed, element('td', channel.activeSubscribers, 'number'), element('td', channel.eventTypes.join(', ')));
    }),
  );
  const select = $('filter').elements.channel;
  const names = channels.filter((channel) => !channel.pattern).map((channel) => channel.name);
  if (select.options.length !== names.length + 1) {
    const chosen = select.value;
    select.replaceChildren(new Option('all channels', ''), ...names.map((name) => new Option(name, name)));
    select.value = names.includes(chosen) ? chosen : '';
  }
  return names;
}

function showStatus(status, stats) {
  const told = {
    status: status.status, adapter: status.adapter, streams: stats.totalSubscriptions, 'slow streams ended': stats.slowConsumersDropped,
    'up for': `${Math.round(status.uptime)} s`, version: status.version,
  };
  $('status').replaceChildren(
    ...Object.entries(told).map(([name, value]) => {
      const pair = document.createElement('div');
      pair.append(element('dt', name), element('dd', value));
      return pair;
    }),
  );
}

function showParts(readiness) {
  const parts = Object.entries(readiness.parts ?? {});
  $('parts').replaceChildren(
    ...parts.map(([name, part]) => {
      const good = part.ready === true;
      const why = part.reason ?? part.detail ?? '';
      return row(element('td', name), element('td', good ? 'ready' : `not ready ${why}`, good ? 'good' : 'bad'));
    }),
  );
}

function showDefinitions({ definitions }) {
  $('definitions').replaceChildren(
    ...Object.values(definitions).map((definition) => {
      const made = document.createElement('details');
      const { name, version, direction, channel, description, payloadSchema } = definition;
      made.append(element('summary', `${name} · version ${version} · ${direction} · ${channel}`));
      if (description) made.append(element('p', description));
      made.append(element('pre', JSON.stringify(payloadSchema, null, 2)));
      return made;
    }),
  );
}

async function refresh() {
  try {
    const [{ channels }, status, stats, readiness] = await Promise.all([
      ask('/channels'), ask('/status'), query('pubsub.getSubscriptionStats'), ask('/readyz'),
    ]);
    const names = showChannels(channels).slice(0, MOST_CHANNELS);
    showStatus(status, stats);
    showParts(readiness);
    tell();
    if (names.join(' ') !== streamed) {
      position = '';
      await listen(names);
    }
  } catch (error) {
    tell(error.message);
  }
  for (const seconds of counted.values()) {
    seconds.unshift(0);
    seconds.length = Math.min(seconds.length, WINDOW);
  }
  setTimeout(refresh, SECOND);
}

async function begin() {
  position = '';
  streamed = '';
  $('tail').replaceChildren();
  try {
    showDefinitions(await query('pubsub.getEventDefinitions'));
    tell();
  } catch (error) {
    tell(error.message);
  }
}

$('sign-in').onsubmit = (submit) => {
  submit.preventDefault();
  token = submit.target.elements.token.value;
  sessionStorage.setItem('token', token);
  submit.target.reset();
  void begin();
};
$('filter').onsubmit = (submit) => submit.preventDefault();
$('filter').oninput = () => {
  for (const item of $('tail').children) item.hidden = !matches(item.envelope);
};
const { pause, history, clear } = $('filter').elements;
pause.onclick = () => {
  paused = !paused;
  pause.setAttribute('aria-pressed', paused);
  pause.textContent = paused ? 'Resume' : 'Pause';
  $('connection').textContent = paused ? 'paused' : 'live';
  if (paused) return;
  show(held);
  held = [];
};
history.onclick = async () => {
  const channel = $('filter').elements.channel.value;
  if (!channel) return tell('Choose a channel: history is read of one.');
  try {
    const { items } = await ask(`/channels/${encodeURIComponent(channel)}/history?limit=100`);
    $('tail').replaceChildren();
    show(items.map((item) => item.data));
    tell();
  } catch (error) {
    tell(error.message);
  }
};
clear.onclick = () => $('tail').replaceChildren();

await begin();
await refresh();
