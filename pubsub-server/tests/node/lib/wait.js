// Waiting for conditions, with a deadline: never for a time to pass.

const DEADLINE_MS = 15_000;

/** Waits until the condition gives something true, and returns it. */
export async function until(condition, what, deadline = DEADLINE_MS) {
  const end = Date.now() + deadline;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain for ${typeof what === 'function' ? what() : what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
