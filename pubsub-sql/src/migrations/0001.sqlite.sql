-- Times are milliseconds since 1970 by the database's clock.
-- state: 0 pending, 1 sent, 2 set aside, 3 waits until `due`.
CREATE TABLE pubsub_outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    channel TEXT NOT NULL,
    lane TEXT,
    envelope BLOB NOT NULL,
    ttl INTEGER,
    state INTEGER NOT NULL,
    created INTEGER NOT NULL,
    ready INTEGER NOT NULL,
    due INTEGER NOT NULL,
    settled INTEGER,
    failures INTEGER NOT NULL DEFAULT 0,
    error TEXT
);
CREATE INDEX pubsub_outbox_pending ON pubsub_outbox (seq) WHERE state = 0;
CREATE INDEX pubsub_outbox_waiting ON pubsub_outbox (due) WHERE state = 3;
CREATE INDEX pubsub_outbox_held ON pubsub_outbox (lane, seq) WHERE state = 3;
CREATE INDEX pubsub_outbox_sent ON pubsub_outbox (settled) WHERE state = 1;
CREATE INDEX pubsub_outbox_parked ON pubsub_outbox (seq) WHERE state = 2;

CREATE TABLE pubsub_lease (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    expires INTEGER NOT NULL
);

CREATE TABLE pubsub_inbox (
    inbox TEXT NOT NULL,
    channel TEXT NOT NULL,
    id TEXT NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (inbox, channel, id)
) WITHOUT ROWID;
CREATE INDEX pubsub_inbox_seen ON pubsub_inbox (seen);

CREATE TABLE pubsub_action (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    owner TEXT NOT NULL,
    claimed INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    answer BLOB,
    PRIMARY KEY (scope, name, id)
);
CREATE INDEX pubsub_action_claimed ON pubsub_action (claimed);
