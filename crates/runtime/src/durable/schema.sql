-- What one job keeps. Everything is of one checkpoint, but for the journal, which goes on behind it.

CREATE TABLE IF NOT EXISTS checkpoint (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    plan      TEXT    NOT NULL, -- of which dataflow: only the same one can take it up
    workers   INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    begun_us  INTEGER NOT NULL
);

-- How far each share of a source has come.
CREATE TABLE IF NOT EXISTS position (
    share     TEXT    PRIMARY KEY,
    position  INTEGER NOT NULL
) WITHOUT ROWID;

-- The state of the operators, in parts.
CREATE TABLE IF NOT EXISTS state (
    operator  TEXT    NOT NULL,
    worker    INTEGER NOT NULL,
    part      INTEGER NOT NULL,
    about     TEXT    NOT NULL,
    rows      INTEGER NOT NULL, -- the id of a piece
    spilled   INTEGER NOT NULL, -- whether there was no memory for them
    PRIMARY KEY (operator, worker, part)
);

-- The rows of these parts, an Arrow IPC stream each, written once and for good. Those that no part has were on their way into
-- a checkpoint when the process ended.
CREATE TABLE IF NOT EXISTS piece (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    rows      BLOB    NOT NULL
);

-- What sources have read, in the order in which they read it, Arrow IPC streams.
CREATE TABLE IF NOT EXISTS journal (
    share     TEXT    NOT NULL,
    position  INTEGER NOT NULL,
    rows      BLOB    NOT NULL,
    rejected  BLOB,
    PRIMARY KEY (share, position)
);

-- What sinks of changes were told behind the checkpoint, in this order; without an epoch if an earlier run has told it.
CREATE TABLE IF NOT EXISTS told (
    number    INTEGER PRIMARY KEY,
    sink      TEXT    NOT NULL,
    epoch     INTEGER,
    rows      BLOB    NOT NULL
);
