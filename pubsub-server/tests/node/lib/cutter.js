// A wire between client and server that can be cut: every connection through it breaks, and later ones are as before.

import { connect, createServer } from 'node:net';

export class Cutter {
  #sockets = new Set();
  #server;
  url = '';

  /** In front of the server at this URL. */
  static async before(url) {
    const cutter = new Cutter();
    const { hostname, port } = new URL(url);
    cutter.#server = createServer((client) => cutter.#join(client, connect(Number(port), hostname)));
    await new Promise((resolve) => cutter.#server.listen(0, '127.0.0.1', resolve));
    cutter.url = `http://127.0.0.1:${cutter.#server.address().port}`;
    return cutter;
  }

  #join(client, server) {
    for (const [from, to] of [
      [client, server],
      [server, client],
    ]) {
      this.#sockets.add(from);
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
    }
  }

  /** Breaks what is open. Returns how many connections that were. */
  cut() {
    const open = this.#sockets.size / 2;
    for (const socket of this.#sockets) socket.destroy();
    return open;
  }

  close() {
    this.cut();
    this.#server.close();
  }
}
