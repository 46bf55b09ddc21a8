-- A file holds the logs of any number of modules. Times are microseconds since 1970, UTC.

CREATE TABLE modules (
  module   INTEGER PRIMARY KEY CHECK (module BETWEEN 1 AND 500000),
  name     TEXT NOT NULL UNIQUE,
  log      BLOB NOT NULL CHECK (length(log) = 16), -- identifies this history of the log
  revision INTEGER NOT NULL DEFAULT 0              -- the highest revision that an entry was ever given
) STRICT;

-- Names of event types, each stored once.
CREATE TABLE types (
  type INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE streams (
  stream    INTEGER PRIMARY KEY,
  module    INTEGER NOT NULL,
  name      TEXT NOT NULL,
  version   INTEGER NOT NULL, -- the last
  links     INTEGER NOT NULL, -- how many of its versions are links
  truncated INTEGER NOT NULL, -- versions up to it are no longer read from the stream
  closed    INTEGER NOT NULL,
  UNIQUE (module, name)
) STRICT;

CREATE TABLE events (
  seq         INTEGER PRIMARY KEY, -- module << 44 | position; positions of a module are 1, 2, 3, …
  id          BLOB NOT NULL,
  stream      INTEGER NOT NULL,    -- that it was appended to, and its version there
  version     INTEGER NOT NULL,
  type        INTEGER NOT NULL,
  system      INTEGER NOT NULL,    -- 1: a system record, left out of reads that don't ask for it
  schema      INTEGER NOT NULL,
  occurred    INTEGER NOT NULL,
  recorded    INTEGER NOT NULL,    -- never decreases with the position
  correlation BLOB,
  causation   BLOB,
  headers     TEXT,                -- a JSON object
  tags        TEXT,                -- a JSON array of {"key": …, "value": …}, as the event had them
  data        BLOB NOT NULL
) STRICT;

-- An id belongs to one event of a module for ever.
CREATE UNIQUE INDEX events_id ON events (id, seq >> 44);
CREATE UNIQUE INDEX events_stream ON events (stream, version);

-- Versions of a stream that are events of other streams.
CREATE TABLE links (
  stream  INTEGER NOT NULL,
  version INTEGER NOT NULL,
  seq     INTEGER NOT NULL,
  PRIMARY KEY (stream, version)
) STRICT, WITHOUT ROWID;

-- A stream has an event once.
CREATE UNIQUE INDEX links_seq ON links (seq, stream);

-- Finds events by tag; what an event's tags are stands with the event.
CREATE TABLE tags (
  key   TEXT NOT NULL,
  value TEXT NOT NULL,
  seq   INTEGER NOT NULL,
  PRIMARY KEY (key, value, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE entries (
  module   INTEGER NOT NULL,
  kind     INTEGER NOT NULL,
  key      TEXT NOT NULL,
  due      INTEGER,
  revision INTEGER NOT NULL,
  value    BLOB NOT NULL,
  PRIMARY KEY (module, kind, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX entries_due ON entries (module, kind, due, key) WHERE due IS NOT NULL;

-- The log as people read it.
CREATE VIEW log AS
SELECT m.name AS module,
       e.seq & 0xfffffffffff AS position,
       s.name AS stream,
       e.version AS version,
       t.name AS type,
       CASE WHEN json_valid(e.data) THEN CAST(e.data AS TEXT) ELSE hex(e.data) END AS data,
       strftime('%Y-%m-%dT%H:%M:%f', e.occurred / 1e6, 'unixepoch') || 'Z' AS occurred,
       strftime('%Y-%m-%dT%H:%M:%f', e.recorded / 1e6, 'unixepoch') || 'Z' AS recorded,
       e.headers AS headers,
       e.tags AS tags,
       e.schema AS schema,
       lower(hex(e.id)) AS id,
       lower(hex(e.correlation)) AS correlation,
       lower(hex(e.causation)) AS causation
  FROM events e
  JOIN modules m ON m.module = e.seq >> 44
  JOIN streams s ON s.stream = e.stream
  JOIN types t ON t.type = e.type;
