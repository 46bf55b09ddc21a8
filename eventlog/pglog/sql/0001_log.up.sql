-- A schema holds the logs of any number of modules. ${schema} stands for its name.

CREATE TABLE ${schema}.modules (
  module integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name   text COLLATE "C" NOT NULL UNIQUE,
  log    uuid NOT NULL -- identifies this history of the log
);

CREATE TABLE ${schema}.streams (
  stream    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  module    integer NOT NULL,
  name      text COLLATE "C" NOT NULL,
  version   bigint NOT NULL,           -- the last
  links     bigint NOT NULL DEFAULT 0, -- how many of its versions are links
  truncated bigint NOT NULL DEFAULT 0, -- versions up to it are no longer read from the stream
  closed    boolean NOT NULL DEFAULT false,
  UNIQUE (module, name)
) WITH (fillfactor = 50); -- each row of a page can be updated once before any of the old ones goes, and stays out of the indexes

-- Every event is given an insertion number by the transaction that inserts it, and a position by a pass, when that
-- transaction has committed. See pass().
CREATE SEQUENCE ${schema}.insertions AS bigint CACHE 1 NO CYCLE;

CREATE TABLE ${schema}.events (
  insertion   bigint PRIMARY KEY,
  module      integer NOT NULL,
  id          uuid NOT NULL,
  stream      bigint NOT NULL,         -- that it was appended to, and its version there
  version     bigint NOT NULL,
  type        text COLLATE "C" NOT NULL,
  system      boolean NOT NULL,        -- a system record, left out of reads that don't ask for it
  schema      integer NOT NULL,
  occurred    timestamptz,             -- null: when it was recorded
  correlation uuid,
  causation   uuid,
  headers     text,                    -- a JSON object
  tags        text,                    -- a JSON array of {"key": …, "value": …}, as the event had them
  data        bytea NOT NULL,
  UNIQUE (module, id),                 -- an id belongs to one event of a module for ever
  UNIQUE (stream, version)
);

-- The order. Rows are only ever inserted, by passes.
CREATE TABLE ${schema}.log (
  module    integer NOT NULL,
  position  bigint NOT NULL,           -- 1, 2, 3, …
  insertion bigint NOT NULL UNIQUE,    -- of the event
  recorded  timestamptz NOT NULL,      -- never decreases with the position
  PRIMARY KEY (module, position)
);

-- What the last pass knew of insertion numbers that were drawn and not yet visible: gaps. The row with the highest number
-- counts, older ones are only kept so that none is ever updated. No row: no gaps.
CREATE TABLE ${schema}.passes (
  pass    bigint PRIMARY KEY,
  gaps    int8range[] NOT NULL,
  bounds  xid8[] NOT NULL,             -- of each gap: whoever drew its numbers has a lower transaction id
  ceiling xid8 NOT NULL,               -- xmax of the snapshot in which the gaps were last looked for
  running xid8[] NOT NULL,             -- transactions that were running in it
  groups  bigint[] NOT NULL,           -- of parked gaps, each with one of
  owners  xid8[] NOT NULL              -- the transactions that may have drawn their numbers
);

-- Gaps that a long transaction keeps open, out of the way of passes until it has ended.
CREATE TABLE ${schema}.parked (
  gang   bigint NOT NULL,              -- in passes.groups
  gaps   int8range[] NOT NULL,
  bounds xid8[] NOT NULL
);
CREATE INDEX parked_gang ON ${schema}.parked (gang);

-- Versions of a stream that are events of other streams.
CREATE TABLE ${schema}.links (
  stream    bigint NOT NULL,
  version   bigint NOT NULL,
  insertion bigint NOT NULL,
  PRIMARY KEY (stream, version),
  UNIQUE (insertion, stream)           -- a stream has an event once
);

-- Finds events by tag; what an event's tags are stands with the event.
CREATE TABLE ${schema}.tags (
  module    integer NOT NULL,
  key       text COLLATE "C" NOT NULL,
  value     text COLLATE "C" NOT NULL,
  insertion bigint NOT NULL,
  PRIMARY KEY (module, key, value, insertion)
);

CREATE SEQUENCE ${schema}.revisions AS bigint CACHE 1 NO CYCLE;

CREATE TABLE ${schema}.entries (
  module   integer NOT NULL,
  kind     smallint NOT NULL,
  key      text COLLATE "C" NOT NULL,
  due      timestamptz,
  revision bigint NOT NULL,
  value    bytea NOT NULL,
  PRIMARY KEY (module, kind, key)
) WITH (fillfactor = 80);
CREATE INDEX entries_due ON ${schema}.entries (module, kind, due, key) WHERE due IS NOT NULL;

-- next_insertion draws the number of an event. The transaction has its id before (CASE looks at its condition first), so that
-- the id of whoever drew a number is lower than any that is handed out after somebody saw a higher number. Never parallel,
-- never cached. It is one expression, which the planner puts where the function is called.
CREATE FUNCTION ${schema}.next_insertion() RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE AS $$
  SELECT CASE WHEN pg_current_xact_id() > '0' THEN nextval('${schema}.insertions') END
$$;

-- pass gives positions to the events that have become visible since the last pass. It is a transaction of its own.
--
-- Position order is the order in which commits became visible: one statement, with one snapshot, reads all events that are
-- visible and have no position, those with lower insertion numbers than the last pass reached (gaps) first. Within a
-- pass, and so within a stream and a transaction, insertion numbers decide.
--
-- A gap is given up when nobody can fill it any more: whoever drew the number had a transaction id before that, so one below
-- the id that the pass which first saw the gap got after its snapshot (the gap's bound), and in a later snapshot no
-- transaction with an id below the bound is running, and the number is still not visible. A gap need not be looked for
-- while none of the transactions that were running when it was last looked for, with ids below its bound, has ended.
--
-- When there are many gaps, the table's locks tell which of the running transactions can be the owner of one: whoever drew
-- a number had a lock on the events before, and has it until it ends. Locks are looked at before the snapshot is taken: a
-- transaction that has none there, and had an id, drew nothing before or has ended. What is left is parked.
--
-- The first row that it returns has module 0, and head 1 if this call made a pass, 0 if somebody else is at it. A row with
-- module -1 says that there is more to number, by another call. The others are the heads that moved.
CREATE FUNCTION ${schema}.pass(OUT module integer, OUT head bigint) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = ${schema}, pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
  at_once  CONSTANT integer := 20000; -- fresh events in one pass, so that others need not wait behind very many
  too_many CONSTANT integer := 128;   -- gaps, before the locks are looked at
  known    passes;                    -- what the last pass knew
  frontier bigint;                    -- the highest insertion number that has a position
  drawn    bigint;
  by_locks boolean;
  lockers  bigint[];                  -- the lower halves of the ids of transactions that have a lock on the events
  seen     pg_snapshot;
  woken    bigint[];                  -- groups of parked gaps of which an owner ended
  gaps     int8range[];               -- all that are not parked, with the woken ones
  bounds   xid8[];
  probed   boolean[];                 -- whether it was looked for
  filled    bigint[];                  -- visible in gaps
  filled_in integer[];                 -- modules
  fresh    bigint[];                  -- visible above the frontier
  fresh_in integer[];
  numbers  bigint[];                  -- that get positions, in their order
  modules  integer[];                 -- whose they are
  moved    integer[];                 -- modules that get events, and where they ended
  heads    bigint[];
  one      integer;
  last     bigint;
  last_recorded timestamptz;
  moment   timestamptz;
  added    bigint;
  news     text;
  ended    boolean;                   -- whether anything may have happened to gaps
  mine     xid8;
  running  xid8[];
  owners   xid8[];                    -- of them, those that may have drawn numbers
  groups   bigint[];
  group_owners xid8[];
  oldest   xid8;
  lasting  xid8[];                    -- the possible owners of the oldest gap
  gang_of_oldest bigint;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a pass needs READ COMMITTED, the transaction is %', upper(current_setting('transaction_isolation')) USING ERRCODE = 'ENS02';
  END IF;
  IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
    RAISE EXCEPTION 'a pass is a transaction of its own, this one has written already' USING ERRCODE = 'ENS02';
  END IF;
  IF NOT pg_try_advisory_xact_lock((x'454e535500000000')::bigint | 'events'::regclass::oid::bigint) THEN
    module := 0; head := 0; RETURN NEXT; RETURN;
  END IF;
  module := 0; head := 1; RETURN NEXT;

  -- Statements from here on see all that the last pass wrote.
  SELECT * INTO known FROM passes ORDER BY pass DESC LIMIT 1;
  IF NOT FOUND THEN
    known := (0, '{}', '{}', '0', '{}', '{}', '{}');
  END IF;
  SELECT coalesce(max(insertion), 0) INTO frontier FROM log;
  SELECT last_value INTO drawn FROM insertions;
  IF drawn < frontier THEN
    RAISE EXCEPTION 'the sequence of insertion numbers stands at %, behind % that was handed out', drawn, frontier
      USING ERRCODE = 'ENS01', HINT = format('If it was restored or set by mistake: SELECT setval(''insertions'', %s)', frontier);
  END IF;
  by_locks := cardinality(known.gaps) > too_many;
  IF NOT by_locks AND cardinality(known.owners) > 0 THEN
    by_locks := EXISTS (SELECT FROM unnest(known.owners) x WHERE x >= pg_snapshot_xmax(pg_current_snapshot()) OR pg_visible_in_snapshot(x, pg_current_snapshot()));
  END IF;
  IF by_locks THEN
    WITH held AS MATERIALIZED (SELECT * FROM pg_locks)
    SELECT coalesce(array_agg(i.transactionid::text::bigint), '{}') INTO lockers
      FROM held r JOIN held i ON i.virtualtransaction = r.virtualtransaction AND i.locktype = 'transactionid' AND i.mode = 'ExclusiveLock' AND i.granted
     WHERE r.locktype = 'relation' AND r.relation = 'events'::regclass AND r.mode = 'RowExclusiveLock' AND r.granted
       AND r.database = (SELECT oid FROM pg_database WHERE datname = current_database());
  END IF;

  -- One statement, one snapshot.
  IF cardinality(known.gaps) = 0 AND cardinality(known.groups) = 0 THEN
    SELECT pg_current_snapshot(), f.insertions, f.modules INTO seen, fresh, fresh_in
      FROM (SELECT array_agg(e.insertion) AS insertions, array_agg(e.module) AS modules
              FROM (SELECT insertion, module FROM events WHERE insertion > frontier ORDER BY insertion LIMIT at_once) e) f;
    IF fresh IS NULL THEN
      RETURN;
    END IF;
    gaps := '{}'; bounds := '{}'; probed := '{}';
    ended := false;
  ELSE
    WITH s AS MATERIALIZED (SELECT pg_current_snapshot() AS snapshot),
    -- Ids from the future are another cluster's, from a dump: nobody there can fill our gaps.
    gone AS MATERIALIZED (
      SELECT x FROM s, unnest(known.running) x WHERE x >= pg_snapshot_xmax(snapshot) OR pg_visible_in_snapshot(x, snapshot) ORDER BY x LIMIT 1),
    awake AS MATERIALIZED (
      SELECT DISTINCT g FROM s, unnest(known.groups, known.owners) o(g, x) WHERE x >= pg_snapshot_xmax(snapshot) OR pg_visible_in_snapshot(x, snapshot)),
    candidates AS MATERIALIZED (
      SELECT g, b, by_locks OR b >= known.ceiling OR coalesce(b > (SELECT x FROM gone), false) AS probe FROM unnest(known.gaps, known.bounds) k(g, b)
      UNION ALL
      SELECT u.g, u.b, true FROM awake, LATERAL (SELECT p.gaps, p.bounds FROM parked p WHERE p.gang = awake.g OFFSET 0) p, unnest(p.gaps, p.bounds) u(g, b)),
    hits AS MATERIALIZED (
      SELECT e.insertion, e.module FROM candidates c, LATERAL (SELECT insertion, module FROM events WHERE insertion >= lower(c.g) AND insertion < upper(c.g) OFFSET 0) e
       WHERE c.probe)
    SELECT s.snapshot, (SELECT array_agg(g) FROM awake), c.gaps, c.bounds, c.probed, h.insertions, h.modules, f.insertions, f.modules
      INTO seen, woken, gaps, bounds, probed, filled, filled_in, fresh, fresh_in
      FROM s,
           (SELECT array_agg(g ORDER BY lower(g)) AS gaps, array_agg(b ORDER BY lower(g)) AS bounds, array_agg(probe ORDER BY lower(g)) AS probed FROM candidates) c,
           (SELECT array_agg(insertion ORDER BY insertion) AS insertions, array_agg(module ORDER BY insertion) AS modules FROM hits) h,
           (SELECT array_agg(e.insertion) AS insertions, array_agg(e.module) AS modules
              FROM (SELECT insertion, module FROM events WHERE insertion > frontier ORDER BY insertion LIMIT at_once) e) f;
    ended := coalesce(true = ANY (probed), false);
    IF fresh IS NULL AND NOT ended THEN
      RETURN;
    END IF;
    gaps := coalesce(gaps, '{}'); bounds := coalesce(bounds, '{}'); probed := coalesce(probed, '{}');
  END IF;

  IF current_setting('synchronous_commit') = 'off' THEN -- a position that somebody saw must not change its meaning in a crash
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  mine := pg_current_xact_id(); -- behind the snapshot, and the transaction had none before

  IF filled IS NOT NULL OR fresh IS NOT NULL THEN
    moved := filled_in || fresh_in;
    IF moved[1] = ALL (moved) THEN
      moved := moved[1:1];
    ELSE
      moved := ARRAY(SELECT DISTINCT m FROM unnest(moved) m ORDER BY m);
    END IF;
    moment := clock_timestamp();
    FOREACH one IN ARRAY moved LOOP
      SELECT position, recorded INTO last, last_recorded FROM log WHERE log.module = one ORDER BY position DESC LIMIT 1;
      heads := heads || coalesce(last, 0);
      moment := greatest(moment, last_recorded);
    END LOOP;
    numbers := filled || fresh; modules := filled_in || fresh_in;
    FOR i IN 1 .. cardinality(moved) LOOP
      IF cardinality(moved) = 1 THEN
        INSERT INTO log (module, position, insertion, recorded)
        SELECT moved[1], heads[1] + n, numbers[n], moment FROM generate_series(1, cardinality(numbers)) n;
      ELSE
        INSERT INTO log (module, position, insertion, recorded)
        SELECT moved[i], heads[i] + row_number() OVER (ORDER BY n), numbers[n], moment FROM generate_series(1, cardinality(numbers)) n WHERE modules[n] = moved[i];
      END IF;
      GET DIAGNOSTICS added = ROW_COUNT;
      module := moved[i]; head := heads[i] + added; RETURN NEXT;
      news := concat_ws(' ', news, module || ':' || head);
    END LOOP;
    IF cardinality(fresh) = at_once THEN
      module := -1; head := 0; RETURN NEXT;
    END IF;
    IF pg_notification_queue_usage() < 0.5 THEN -- full, because somebody who listens does not take them, it would fail the pass
      PERFORM pg_notify('ensue ' || current_schema(), left(news, 7000)); -- wakes up who listens; nothing relies on it
    END IF;
  END IF;

  IF cardinality(known.gaps) = 0 AND cardinality(known.groups) = 0 AND fresh[cardinality(fresh)] - frontier = cardinality(fresh) THEN
    RETURN; -- no gaps before, and none between what is fresh
  END IF;

  -- What of the gaps is left.
  running := ARRAY(SELECT x FROM pg_snapshot_xip(seen) x);
  IF by_locks THEN
    owners := ARRAY(SELECT x FROM unnest(running) x WHERE x::text::bigint & 4294967295 = ANY (lockers));
  ELSE
    owners := running;
  END IF;
  IF cardinality(gaps) > 0 THEN
    SELECT coalesce(array_agg(r.g ORDER BY lower(r.g)), '{}'), coalesce(array_agg(r.b ORDER BY lower(r.g)), '{}') INTO gaps, bounds FROM (
      SELECT unnest(CASE WHEN k.probed AND filled IS NOT NULL THEN int8multirange(k.g) - holes.numbers ELSE int8multirange(k.g) END) AS g,
             CASE WHEN k.b >= pg_snapshot_xmax(seen) THEN mine ELSE k.b END AS b -- from the future, see above
        FROM unnest(gaps, bounds, probed) k(g, b, probed)
        CROSS JOIN (SELECT range_agg(int8range(n, n, '[]')) AS numbers FROM unnest(filled) n) holes
       WHERE NOT k.probed OR k.b >= pg_snapshot_xmax(seen) OR EXISTS (SELECT FROM unnest(owners) x WHERE x < k.b)) r;
  END IF;
  IF fresh IS NOT NULL THEN
    SELECT gaps || coalesce(array_agg(int8range(n.before + 1, n.number) ORDER BY n.number), '{}'),
           bounds || coalesce(array_agg(mine ORDER BY n.number), '{}') INTO gaps, bounds
      FROM (SELECT number, lag(number, 1, frontier) OVER (ORDER BY number) AS before FROM unnest(fresh) number) n
     WHERE n.number > n.before + 1;
  END IF;

  SELECT coalesce(array_agg(g), '{}'), coalesce(array_agg(x), '{}') INTO groups, group_owners
    FROM unnest(known.groups, known.owners) o(g, x) WHERE NOT g = ANY (coalesce(woken, '{}'));
  DELETE FROM parked WHERE gang = ANY (woken);
  IF by_locks THEN
    -- Those that have the same possible owners are parked together, when they are many: the oldest such. Others' may end any
    -- moment.
    SELECT min_b, ARRAY(SELECT x FROM unnest(owners) x WHERE x < min_b ORDER BY x) INTO oldest, lasting
      FROM (SELECT min(b) AS min_b FROM (SELECT b, (SELECT count(*) FROM unnest(owners) x WHERE x < b) AS n FROM unnest(bounds) b WHERE b < pg_snapshot_xmax(seen)) k
             GROUP BY n HAVING count(*) >= too_many / 4 ORDER BY n LIMIT 1) o;
    INSERT INTO parked (gang, gaps, bounds)
    SELECT hashtextextended(lasting::text, 0), array_agg(g ORDER BY lower(g)), array_agg(b ORDER BY lower(g))
      FROM unnest(gaps, bounds) k(g, b)
     WHERE b < pg_snapshot_xmax(seen) AND (SELECT count(*) FROM unnest(owners) x WHERE x < b) = cardinality(lasting)
    HAVING count(*) >= too_many / 4
    RETURNING gang INTO gang_of_oldest;
    IF FOUND THEN
      SELECT coalesce(array_agg(g ORDER BY lower(g)), '{}'), coalesce(array_agg(b ORDER BY lower(g)), '{}') INTO gaps, bounds
        FROM unnest(gaps, bounds) k(g, b)
       WHERE NOT (b < pg_snapshot_xmax(seen) AND (SELECT count(*) FROM unnest(owners) x WHERE x < b) = cardinality(lasting));
      IF NOT gang_of_oldest = ANY (groups) THEN
        groups := groups || array_fill(gang_of_oldest, ARRAY[cardinality(lasting)]);
        group_owners := group_owners || lasting;
      END IF;
    END IF;
  END IF;
  INSERT INTO passes VALUES (known.pass + 1, gaps, bounds, pg_snapshot_xmax(seen), running, groups, group_owners);
  DELETE FROM passes WHERE pass = known.pass - 100; -- by its very key: what is dead below need not be passed over
END $$;

-- append applies the writes of some requests, each all or none; see append.go for the shape of what it is given. No two of
-- the requests have a stream, an entry or an event's id in common. It looks at everything before it writes anything, so
-- that a request that is refused leaves nothing behind; each gets a code:
--
--	0: done. firsts and lasts: versions of each write to a stream; revisions: of each put
--	1: the write with that number to a stream found version actual
--	2: ids of the request are in the log already
--	3: the write with that number is to a closed stream
--	4: the write with that number to an entry found revision actual
--	5: the write with that number links a position, in actual, where there is no event
--	6: a stream is locked by somebody else, and hurried requests don't wait for it, or that takes a closer look
--
-- The stream's version is fixed, by a lock on its row, before insertion numbers are drawn. Somebody else's lock is waited
-- for at most wait milliseconds.
CREATE FUNCTION ${schema}.append(
  in_module integer, wait integer, hurried boolean, requests integer,
  names text[], s_request integer[],                                   -- streams, each once, in their order
  w_request integer[], w_number integer[], w_stream integer[], w_expect bigint[], w_events integer[], w_links integer[], -- writes to streams, in order
  e_id uuid[], e_given boolean[], e_write integer[], e_nth integer[], e_type text[], e_system boolean[], e_schema integer[], e_occurred timestamptz[],
  e_correlation uuid[], e_causation uuid[], e_headers text[], e_tags text[], e_data bytea[],
  t_event integer[], t_key text[], t_value text[],                     -- tags, in the order of events
  l_stream integer[], l_position bigint[], l_same integer[],           -- links, in order; the earlier one that is the same
  p_request integer[], p_number integer[], p_kind smallint[], p_key text[], p_due timestamptz[], p_value bytea[], p_expect bigint[], -- puts, by kind and key
  d_request integer[], d_number integer[], d_kind smallint[], d_key text[], d_expect bigint[], -- deletes, by kind and key
  OUT codes integer[], OUT numbers integer[], OUT actuals bigint[], OUT firsts bigint[], OUT lasts bigint[], OUT revisions bigint[])
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = ${schema}, pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_material = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_variable
DECLARE
  before   CONSTANT text := current_setting('lock_timeout');
  n        CONSTANT integer := cardinality(names);
  nothing  text;
  ids      bigint[];
  found_at bigint[];         -- versions before
  versions bigint[];         -- and as they come
  added    bigint[];         -- links
  closed_  boolean[];
  absent   boolean[];
  locked   integer[];        -- requests whose stream is there, and was passed over
  new_ones boolean;          -- some streams don't exist
  bases    bigint[];         -- of each write: the version before its first event
  l_insertion bigint[];
  l_version bigint[];        -- where a link stands already, or will
  new_link boolean[];
  drawn    bigint[];         -- revisions
  k        integer := 0;
  s        integer;
  r        integer;
  code     integer;
  v        bigint;
  there    integer[];
  one      record;
BEGIN
  codes := array_fill(0, ARRAY[requests]); numbers := array_fill(2147483647, ARRAY[requests]); actuals := array_fill(0::bigint, ARRAY[requests]);
  nothing := set_config('lock_timeout', wait::text, true);

  IF n > 0 THEN
    -- A stream that is not there gets its number here already. The outer rows' order is that of the arrays.
    IF hurried THEN
      SELECT array_agg(coalesce(t.stream, nextval('streams_stream_seq'))), array_agg(coalesce(t.version, 0)), array_agg(coalesce(t.closed, false)), array_agg(t.stream IS NULL),
             array_agg(CASE WHEN t.stream IS NULL THEN (SELECT s_request[i] FROM streams WHERE streams.module = in_module AND streams.name = names[i]) END)
        INTO ids, versions, closed_, absent, locked
        FROM generate_series(1, n) i
        LEFT JOIN LATERAL (SELECT stream, version, closed FROM streams WHERE streams.module = in_module AND streams.name = names[i] FOR NO KEY UPDATE SKIP LOCKED) t ON true;
    ELSE
      SELECT array_agg(coalesce(t.stream, nextval('streams_stream_seq'))), array_agg(coalesce(t.version, 0)), array_agg(coalesce(t.closed, false)), array_agg(t.stream IS NULL)
        INTO ids, versions, closed_, absent
        FROM generate_series(1, n) i
        LEFT JOIN LATERAL (SELECT stream, version, closed FROM streams WHERE streams.module = in_module AND streams.name = names[i] FOR NO KEY UPDATE) t ON true;
    END IF;
    new_ones := true = ANY (absent);
    IF hurried AND new_ones THEN -- or locked by somebody else
      FOREACH r IN ARRAY locked LOOP
        IF r IS NOT NULL THEN
          codes[r] := 6;
        END IF;
      END LOOP;
    END IF;
    found_at := versions; firsts := array_fill(0::bigint, ARRAY[cardinality(w_stream)]); lasts := firsts; bases := firsts;
    IF true = ANY (e_given) THEN
      SELECT array_agg(w_request[e_write[i]]) INTO there
        FROM generate_series(1, cardinality(e_id)) i CROSS JOIN LATERAL (SELECT FROM events WHERE events.module = in_module AND events.id = e_id[i] OFFSET 0) t
       WHERE e_given[i];
      IF there IS NOT NULL THEN
        FOREACH r IN ARRAY there LOOP
          codes[r] := 2;
        END LOOP;
      END IF;
    END IF;
    IF cardinality(l_position) > 0 THEN
      -- OFFSET 0 keeps the planner from looking at a whole log that was short when it planned.
      SELECT array_agg(p.insertion), array_agg(coalesce(a.version, b.version)) INTO l_insertion, l_version
        FROM generate_series(1, cardinality(l_position)) i
        LEFT JOIN LATERAL (SELECT insertion FROM log WHERE log.module = in_module AND log.position = l_position[i] OFFSET 0) p ON true
        LEFT JOIN LATERAL (SELECT version FROM links WHERE links.insertion = p.insertion AND links.stream = ids[l_stream[i]] OFFSET 0) a ON true
        LEFT JOIN LATERAL (SELECT version FROM events WHERE events.insertion = p.insertion AND events.stream = ids[l_stream[i]] OFFSET 0) b ON true;
      new_link := array_fill(false, ARRAY[cardinality(l_position)]);
      added := array_fill(0::bigint, ARRAY[n]);
    END IF;
    FOR w IN 1 .. cardinality(w_stream) LOOP
      r := w_request[w];
      IF codes[r] <> 0 THEN
        k := k + w_links[w];
        CONTINUE;
      END IF;
      s := w_stream[w];
      v := versions[s];
      code := 0;
      IF closed_[s] THEN
        code := 3;
      ELSIF w_expect[w] <> 0 AND v <> w_expect[w] AND NOT (w_expect[w] = -2 AND v = 0) AND NOT (w_expect[w] = -1 AND v > 0) THEN
        code := 1;
      END IF;
      bases[w] := v;
      IF w_links[w] = 0 THEN
        IF code <> 0 THEN
          codes[r] := code; numbers[r] := w_number[w]; actuals[r] := v;
          CONTINUE;
        END IF;
        firsts[w] := v + 1;
        v := v + w_events[w];
        versions[s] := v;
        lasts[w] := v;
        CONTINUE;
      END IF;
      FOR i IN 1 .. w_links[w] LOOP
        k := k + 1;
        IF codes[r] <> 0 THEN
          CONTINUE;
        END IF;
        IF l_insertion[k] IS NULL THEN
          codes[r] := 5; numbers[r] := w_number[w]; actuals[r] := l_position[k];
          CONTINUE;
        END IF;
        IF l_version[k] IS NULL AND l_same[k] > 0 THEN
          l_version[k] := l_version[l_same[k]];
        END IF;
        IF l_version[k] IS NULL THEN -- a new link; those that are there already expect nothing
          IF code <> 0 THEN
            codes[r] := code; numbers[r] := w_number[w]; actuals[r] := v;
            CONTINUE;
          END IF;
          versions[s] := versions[s] + 1;
          added[s] := added[s] + 1;
          l_version[k] := versions[s];
          new_link[k] := true;
        END IF;
        IF i = 1 THEN
          firsts[w] := l_version[k];
        END IF;
        lasts[w] := l_version[k];
      END LOOP;
    END LOOP;
  END IF;

  -- Entries: those that something is expected of are locked and looked at; of a request's writes the first is refused.
  -- Hurried requests don't look for entries that shall not be there: nearly always they are not, and if one is, the insert
  -- fails, and the requests come again without hurry.
  IF 0 <> ANY (p_expect) THEN
    IF hurried AND 0 <> ANY (codes) THEN -- what is refused may have such an entry before it, which would be the reason then
      FOR r IN SELECT p_request[i] FROM generate_series(1, cardinality(p_key)) i
          WHERE p_expect[i] < 0 AND codes[p_request[i]] NOT IN (0, 2, 6) AND p_number[i] < numbers[p_request[i]] LOOP
        codes[r] := 6;
      END LOOP;
    END IF;
  END IF;
  IF 0 < ANY (p_expect) OR NOT hurried AND 0 > ANY (p_expect) THEN
    FOR one IN SELECT p_request[i] AS r, p_number[i] AS n, coalesce(t.revision, 0) AS f
        FROM generate_series(1, cardinality(p_key)) i
        LEFT JOIN LATERAL (SELECT revision FROM entries WHERE entries.module = in_module AND entries.kind = p_kind[i] AND entries.key = p_key[i] FOR NO KEY UPDATE) t ON true
       WHERE p_expect[i] <> 0 AND NOT (hurried AND p_expect[i] < 0) AND coalesce(t.revision, 0) <> greatest(p_expect[i], 0) LOOP
      IF codes[one.r] NOT IN (2, 6) AND one.n < numbers[one.r] THEN
        codes[one.r] := 4; numbers[one.r] := one.n; actuals[one.r] := one.f;
      END IF;
    END LOOP;
  END IF;
  IF 0 <> ANY (d_expect) THEN
    FOR one IN SELECT d_request[i] AS r, d_number[i] AS n, coalesce(t.revision, 0) AS f
        FROM generate_series(1, cardinality(d_key)) i
        LEFT JOIN LATERAL (SELECT revision FROM entries WHERE entries.module = in_module AND entries.kind = d_kind[i] AND entries.key = d_key[i] FOR UPDATE) t ON true
       WHERE d_expect[i] <> 0 AND coalesce(t.revision, 0) <> greatest(d_expect[i], 0) LOOP
      IF codes[one.r] NOT IN (2, 6) AND one.n < numbers[one.r] THEN
        codes[one.r] := 4; numbers[one.r] := one.n; actuals[one.r] := one.f;
      END IF;
    END LOOP;
  END IF;
  IF 0 <> ALL (codes) THEN
    nothing := set_config('lock_timeout', before, true);
    RETURN;
  END IF;

  -- From here on it is written, and what goes wrong ends the transaction.
  IF n > 0 THEN
    -- A number that passes are done with would be left without a position. The log is read as it was before the sequence.
    IF cardinality(e_id) > 0 AND (SELECT last_value FROM insertions) < (SELECT max(insertion) FROM log) THEN
      RAISE EXCEPTION 'the sequence of insertion numbers stands behind numbers that were handed out'
        USING ERRCODE = 'ENS01', HINT = format('If it was restored or set by mistake: SELECT setval(''insertions'', %s)', (SELECT max(insertion) FROM log));
    END IF;
    IF new_ones THEN
      -- Who finds that somebody else made it at the same time fails by its unique name.
      INSERT INTO streams (stream, module, name, version, links) OVERRIDING SYSTEM VALUE
      SELECT ids[i], in_module, names[i], versions[i], coalesce(added[i], 0) FROM generate_series(1, n) i
       WHERE absent[i] AND versions[i] > 0 AND codes[s_request[i]] = 0;
    END IF;
    IF versions <> found_at AND false = ANY (absent) THEN
      UPDATE streams SET version = versions[i], links = links + coalesce(added[i], 0) FROM generate_series(1, n) i
       WHERE streams.stream = ids[i] AND versions[i] <> found_at[i] AND found_at[i] > 0 AND codes[s_request[i]] = 0;
      -- A stream without versions may have been closed, or left by a call that was refused.
      IF 0 = ANY (found_at) THEN
        UPDATE streams SET version = versions[i], links = coalesce(added[i], 0) FROM generate_series(1, n) i
         WHERE streams.stream = ids[i] AND NOT absent[i] AND versions[i] <> found_at[i] AND found_at[i] = 0 AND codes[s_request[i]] = 0;
      END IF;
    END IF;
    IF cardinality(e_id) > 0 THEN
      -- In the order of the arrays: a join might draw numbers in another order than that of versions.
      INSERT INTO events (insertion, module, id, stream, version, type, system, schema, occurred, correlation, causation, headers, tags, data)
      SELECT next_insertion(), in_module, e_id[i], ids[w_stream[e_write[i]]], bases[e_write[i]] + e_nth[i], e_type[i], e_system[i], e_schema[i], e_occurred[i],
             e_correlation[i], e_causation[i], e_headers[i], e_tags[i], e_data[i]
        FROM generate_series(1, cardinality(e_id)) i
       WHERE codes[w_request[e_write[i]]] = 0;
    END IF;
    IF cardinality(t_event) > 0 THEN
      INSERT INTO tags (module, key, value, insertion)
      SELECT in_module, t_key[i], t_value[i], (SELECT insertion FROM events WHERE events.module = in_module AND events.id = e_id[t_event[i]])
        FROM generate_series(1, cardinality(t_event)) i WHERE codes[w_request[e_write[t_event[i]]]] = 0
      ON CONFLICT DO NOTHING;
    END IF;
    IF cardinality(l_position) > 0 THEN
      INSERT INTO links (stream, version, insertion)
      SELECT ids[l_stream[i]], l_version[i], l_insertion[i] FROM generate_series(1, cardinality(l_position)) i WHERE new_link[i] AND codes[s_request[l_stream[i]]] = 0;
    END IF;
  END IF;
  IF cardinality(p_key) > 0 THEN
    SELECT array_agg(CASE WHEN p_expect[i] < 0 THEN nextval('revisions') END) INTO revisions FROM generate_series(1, cardinality(p_key)) i;
    IF 0 > ANY (p_expect) THEN -- who expects no entry inserts, and fails when somebody else was faster
      INSERT INTO entries (module, kind, key, due, revision, value)
      SELECT in_module, p_kind[i], p_key[i], p_due[i], revisions[i], p_value[i] FROM generate_series(1, cardinality(p_key)) i
       WHERE p_expect[i] < 0 AND codes[p_request[i]] = 0;
    END IF;
    IF 0 <= ANY (p_expect) THEN -- their revisions are drawn when the row is locked, and returned in the order of the arrays
      WITH put AS (
        INSERT INTO entries (module, kind, key, due, revision, value)
        SELECT in_module, p_kind[i], p_key[i], p_due[i], nextval('revisions'), p_value[i] FROM generate_series(1, cardinality(p_key)) i
         WHERE p_expect[i] >= 0 AND codes[p_request[i]] = 0
        ON CONFLICT (module, kind, key) DO UPDATE SET due = excluded.due, revision = nextval('revisions'), value = excluded.value
        RETURNING entries.revision)
      SELECT array_agg(put.revision) INTO drawn FROM put;
      k := 0;
      FOR i IN 1 .. cardinality(p_key) LOOP
        IF p_expect[i] >= 0 AND codes[p_request[i]] = 0 THEN
          k := k + 1;
          revisions[i] := drawn[k];
        END IF;
      END LOOP;
    END IF;
  END IF;
  IF cardinality(d_key) > 0 THEN
    -- The module comes with each row: a plan made while there were few entries might go through all of the module's.
    DELETE FROM entries USING (SELECT in_module AS module, d_kind[i] AS kind, d_key[i] AS key FROM generate_series(1, cardinality(d_key)) i
       WHERE codes[d_request[i]] = 0 OFFSET 0) q
     WHERE entries.module = q.module AND entries.kind = q.kind AND entries.key = q.key;
  END IF;
  nothing := set_config('lock_timeout', before, true);
END $$;

-- repeat compares an append whose ids are known with the events that have them; a row for each id that is there.
CREATE FUNCTION ${schema}.repeat(
  in_module integer, e_id uuid[], e_stream text[], e_type text[], e_data bytea[],
  OUT nth integer, OUT same_stream boolean, OUT type text, OUT same_data boolean, OUT version bigint) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = ${schema}, pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
  SELECT q.o::integer, s.name = q.stream, e.type, e.data = q.data, e.version
    FROM unnest(e_id, e_stream, e_type, e_data) WITH ORDINALITY q(id, stream, type, data, o)
    CROSS JOIN LATERAL (SELECT * FROM events WHERE events.module = in_module AND events.id = q.id OFFSET 0) e
    JOIN streams s ON s.stream = e.stream
$$;

-- link_places says where events, by position, stand in streams: 0 where they don't.
CREATE FUNCTION ${schema}.link_places(in_module integer, l_stream text[], l_position bigint[]) RETURNS SETOF bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = ${schema}, pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
  SELECT coalesce((SELECT k.version FROM links k WHERE k.insertion = l.insertion AND k.stream = s.stream),
                  (SELECT e.version FROM events e WHERE e.insertion = l.insertion AND e.stream = s.stream), 0)
    FROM unnest(l_stream, l_position) WITH ORDINALITY q(stream, position, o)
    LEFT JOIN LATERAL (SELECT * FROM streams WHERE streams.module = in_module AND streams.name = q.stream OFFSET 0) s ON true
    LEFT JOIN LATERAL (SELECT * FROM log WHERE log.module = in_module AND log.position = q.position OFFSET 0) l ON true
   ORDER BY q.o
$$;

-- as_json gives a payload to people who write SQL: as what it is if it is JSON that PostgreSQL takes, otherwise as text
-- or in hexadecimal.
CREATE FUNCTION ${schema}.as_json(data bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE AS $$
BEGIN
  RETURN convert_from(data, 'UTF8')::jsonb;
EXCEPTION WHEN others THEN
  BEGIN
    RETURN to_jsonb(convert_from(data, 'UTF8'));
  EXCEPTION WHEN others THEN
    RETURN to_jsonb(data::text);
  END;
END $$;

-- The log as people read it.
CREATE VIEW ${schema}.journal AS
SELECT m.name AS module, l.position, s.name AS stream, e.version, e.type, ${schema}.as_json(e.data) AS data,
       coalesce(e.occurred, l.recorded) AS occurred, l.recorded, ${schema}.as_json(convert_to(e.headers, 'UTF8')) AS headers,
       ${schema}.as_json(convert_to(e.tags, 'UTF8')) AS tags, e.schema, e.id, e.correlation, e.causation, e.system
  FROM ${schema}.log l
  JOIN ${schema}.events e ON e.insertion = l.insertion
  JOIN ${schema}.streams s ON s.stream = e.stream
  JOIN ${schema}.modules m ON m.module = l.module;

REVOKE ALL ON FUNCTION ${schema}.pass, ${schema}.append, ${schema}.repeat, ${schema}.link_places, ${schema}.next_insertion FROM PUBLIC;
