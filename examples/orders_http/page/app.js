// Orders as they come. The books are read once, and again when the server says that events may be missing; everything else
// comes by the stream, which goes on where it broke off.

const element = (id) => document.getElementById(id);
const orders = new Map();
let token = '';
/** The cursor of the last event, and how many there were: what tests look at. */
let position = '';
const seen = (globalThis.seen = { events: 0, loads: 0, opened: 0, ticks: 0 });
setInterval(() => (seen.ticks += 1), 100);

const authorization = () => ({ authorization: `Bearer ${token}` });

async function call(path, init = {}) {
  const response = await fetch(path, { ...init, headers: { ...authorization(), ...init.headers } });
  const body = await response.json();
  if (!response.ok) throw new Error(body.error.message);
  return body;
}

function show() {
  const cells = (order) => [order.number, order.customer, order.item, order.quantity, (order.cents / 100).toFixed(2)];
  const rows = [...orders.values()].sort((a, b) => a.number - b.number).map((order) => {
    const row = document.createElement('tr');
    row.append(...cells(order).map((text) => Object.assign(document.createElement('td'), { textContent: text })));
    return row;
  });
  element('orders').replaceChildren(...rows);
}

function note(order) {
  orders.set(order.number, order);
  show();
}

/**
 * The books as they are. The stream begins at what was the last event before they were read, so nothing falls in between;
 * they can be read while the broker is away, and the stream then has to wait.
 */
async function load() {
  const history = position ? {} : await call('api/channels/orders/history?limit=1').catch((error) => ({ error }));
  const { orders: all } = await call('orders');
  seen.loads += 1;
  orders.clear();
  for (const order of all) orders.set(order.number, order);
  show();
  if (history.error) throw history.error;
  position ||= history.latest ?? 'earliest';
}

/** Opens the stream after the last event that was seen. A ticket opens one stream, so each attempt needs a new one. */
async function listen() {
  const { ticket } = await call('api/sse-ticket', { method: 'POST' });
  const query = new URLSearchParams({ channel: 'orders', event: 'orders:placed', ticket, lastEventId: position });
  const source = new EventSource(`api/events?${query}`);
  source.onopen = () => {
    seen.opened += 1;
    element('state').textContent = 'live';
  };
  source.addEventListener('orders:placed', (event) => {
    position = event.lastEventId;
    seen.events += 1;
    note(JSON.parse(event.data).payload);
  });
  source.addEventListener('pubsub:gap', (event) => {
    position = event.lastEventId;
    again(load);
  });
  source.onerror = () => {
    // By itself it would come back with the ticket that is used up.
    source.close();
    element('state').textContent = 'away, coming back …';
    again(listen);
  };
}

/** Tries until it works, a little later each time. */
async function again(work) {
  for (let pause = 100; ; pause = Math.min(pause * 2, 2000)) {
    try {
      return await work();
    } catch (error) {
      element('state').textContent = `away: ${error.message}`;
      await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random())));
    }
  }
}

element('enter').onsubmit = (submit) => {
  submit.preventDefault();
  token = submit.target.token.value;
  submit.target.hidden = true;
  element('order').hidden = false;
  again(load).then(() => again(listen));
};

element('order').onsubmit = (submit) => {
  submit.preventDefault();
  const payload = { item: submit.target.item.value, quantity: Number(submit.target.quantity.value) };
  // One id for all attempts: however often it is sent, it is one order.
  const body = JSON.stringify({ name: 'orders:place', payload, clientEventId: crypto.randomUUID() });
  const place = () => call('api/events', { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  again(place).then((answer) => note(answer.result));
};
