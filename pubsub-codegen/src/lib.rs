//! What is written from the event definitions of a catalog: JSON Schemas, AsyncAPI, OpenAPI, TypeScript, a catalogue for people, and
//! the lock of the published contracts.
