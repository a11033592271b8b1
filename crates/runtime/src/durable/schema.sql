-- What one job keeps. Everything is of one checkpoint, but for the journal, which goes on behind it.

CREATE TABLE checkpoint (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    plan      TEXT    NOT NULL, -- of which dataflow: only the same one can take it up
    workers   INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    begun_us  INTEGER NOT NULL
);

-- How far each share of a source has come.
CREATE TABLE position (
    share     TEXT    PRIMARY KEY,
    position  INTEGER NOT NULL
) WITHOUT ROWID;

-- The state of the operators, one Arrow IPC stream a row.
CREATE TABLE state (
    operator  TEXT    NOT NULL,
    worker    INTEGER NOT NULL,
    part      INTEGER NOT NULL,
    about     TEXT    NOT NULL,
    rows      BLOB    NOT NULL,
    PRIMARY KEY (operator, worker, part)
);

-- What sources have read, in the order in which they read it, Arrow IPC streams.
CREATE TABLE journal (
    share     TEXT    NOT NULL,
    position  INTEGER NOT NULL,
    rows      BLOB    NOT NULL,
    rejected  BLOB,
    PRIMARY KEY (share, position)
);
