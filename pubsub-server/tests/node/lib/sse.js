// A reader of event streams that shows what is on the wire, comments included.

import { until } from './wait.js';

export class RawStream {
  /** Whole blocks, as lists of lines. */
  blocks = [];
  ended = false;
  #abort = new AbortController();

  /** Opens a stream. Errors come as answers, so look at `status` first. */
  static async open(url, headers = {}) {
    const stream = new RawStream();
    const response = await fetch(url, {
      headers: { accept: 'text/event-stream', ...headers },
      signal: stream.#abort.signal,
    });
    stream.status = response.status;
    stream.headers = response.headers;
    stream.#read(response.body).catch(() => (stream.ended = true));
    return stream;
  }

  async #read(body) {
    let text = '';
    for await (const part of body.pipeThrough(new TextDecoderStream())) {
      const blocks = (text + part).split('\n\n');
      text = blocks.pop();
      this.blocks.push(...blocks.filter((block) => block !== '').map((block) => block.split('\n')));
    }
    this.rest = text;
    this.ended = true;
  }

  /** The fields of the blocks that dispatch an event. */
  get events() {
    const events = this.blocks.map((lines) => {
      const fields = {};
      for (const line of lines.filter((line) => !line.startsWith(':'))) {
        const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
        fields[name] = value;
      }
      return fields;
    });
    return events.filter((fields) => 'data' in fields);
  }

  get comments() {
    return this.blocks.flat().filter((line) => line.startsWith(':'));
  }

  async has(condition, what) {
    return until(() => condition(this), () => `${what}; seen: ${JSON.stringify(this.blocks).slice(0, 800)}`);
  }

  /** Waits for that many events. */
  async count(count) {
    await this.has(() => this.events.length >= count, `${count} events`);
    return this.events;
  }

  async end() {
    await this.has(() => this.ended, 'the end of the stream');
  }

  close() {
    this.#abort.abort();
  }
}
