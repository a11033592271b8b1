-- seq gives the order of creation; ids are what clients know. Columns of type BLOB are sealed.
CREATE TABLE profiles (
  seq        INTEGER PRIMARY KEY AUTOINCREMENT,
  id         TEXT NOT NULL UNIQUE,
  name       TEXT NOT NULL UNIQUE,
  connector  TEXT NOT NULL,
  config     BLOB NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE tables (
  seq        INTEGER PRIMARY KEY AUTOINCREMENT,
  id         TEXT NOT NULL UNIQUE,
  name       TEXT NOT NULL UNIQUE,
  connector  TEXT NOT NULL,
  profile_id TEXT REFERENCES profiles (id),
  config     BLOB NOT NULL,
  schema     TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE pipelines (
  seq                        INTEGER PRIMARY KEY AUTOINCREMENT,
  id                         TEXT NOT NULL UNIQUE,
  name                       TEXT NOT NULL,
  query                      BLOB NOT NULL,
  parallelism                INTEGER NOT NULL,
  checkpoint_interval_micros INTEGER NOT NULL,
  preview                    INTEGER NOT NULL,
  writes                     INTEGER NOT NULL,
  stop                       TEXT NOT NULL,
  graph                      TEXT NOT NULL,
  created_at                 INTEGER NOT NULL
) STRICT;

-- What a pipeline uses cannot be deleted.
CREATE TABLE pipeline_profiles (
  pipeline_id TEXT NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
  profile_id  TEXT NOT NULL REFERENCES profiles (id),
  PRIMARY KEY (pipeline_id, profile_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE pipeline_tables (
  pipeline_id TEXT NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
  table_id    TEXT NOT NULL REFERENCES tables (id),
  PRIMARY KEY (pipeline_id, table_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX pipeline_profiles_of ON pipeline_profiles (profile_id);
CREATE INDEX pipeline_tables_of ON pipeline_tables (table_id);

-- One a pipeline.
CREATE TABLE jobs (
  seq             INTEGER PRIMARY KEY AUTOINCREMENT,
  id              TEXT NOT NULL UNIQUE,
  pipeline_id     TEXT NOT NULL UNIQUE REFERENCES pipelines (id) ON DELETE CASCADE,
  state           TEXT NOT NULL,
  run_id          INTEGER NOT NULL,
  start_time      INTEGER,
  finish_time     INTEGER,
  failure_message TEXT,
  created_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE job_errors (
  seq         INTEGER PRIMARY KEY AUTOINCREMENT,
  id          TEXT NOT NULL UNIQUE,
  job_id      TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  operator_id TEXT,
  message     TEXT NOT NULL,
  details     TEXT NOT NULL,
  created_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX job_errors_of ON job_errors (job_id, seq);
