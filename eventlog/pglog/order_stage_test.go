package pglog

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// A judge is told what a script finds: the test, or whoever expects a mutant to be found.
type judge interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

// A stage is a schema of its own, with the module shop, against which a script steps several connections. Its functions
// have points at which an actor can be stopped:
//
//	id       a writer has its transaction id, and has not drawn a number
//	drawn    it has drawn a number, and has not inserted the row
//	locked   a pass has the lock, and has not read what the last pass wrote
//	looked   it has looked at the table's locks, if it does, and has not taken its snapshot
//	seen     it has read events, and has no transaction id yet
type stage struct {
	judge
	ctx      context.Context //nolint:containedctx // of one script
	cancel   context.CancelFunc
	address  string
	schema   string
	number   int32         // of the module
	patience time.Duration // for what must happen
	stepper  *actor        // makes passes, reads, and holds points
}

var stages atomic.Int64

// play runs a script on the shared server.
func play(t *testing.T, script func(*stage)) {
	t.Helper()
	script(newStage(t, pgtest.Database(t), nil))
}

// An edit changes the text of the migration, in which ${schema} stands for the schema. It returns an error if it can't.
type edit func(text string) (string, error)

// newStage makes a schema, with an edited migration if there is an edit.
func newStage(j judge, address string, change edit) *stage {
	s := &stage{judge: j, address: address, schema: fmt.Sprint("stage ", stages.Add(1)), patience: 20 * time.Second}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	text, err := stageText(s.schema, change)
	if err != nil {
		s.Fatalf("%v", err)
	}
	s.stepper = s.actor()
	if err := script(s.ctx, s.stepper.conn, text); err != nil {
		s.Fatalf("make a schema: %v", err)
	}
	s.scan(&s.number, `INSERT INTO ${schema}.modules (name, log) VALUES ('shop', $1) RETURNING module`, uuid(event.NewID()))
	return s
}

// points are put into the functions: where a text stands, what is put in its place.
var points = [][2]string{
	{"THEN nextval('${schema}.insertions') END", "THEN ${schema}.drawn(nextval('${schema}.insertions')) END"},
	{"\n  -- Statements from here on see all that the last pass wrote.\n", "\n  PERFORM ${schema}.point('locked');\n"},
	{"\n  -- One statement, one snapshot.\n", "\n  PERFORM ${schema}.point('looked');\n"},
	{"\n  IF current_setting('synchronous_commit') = 'off' THEN", "\n  PERFORM ${schema}.point('seen');\n  IF current_setting('synchronous_commit') = 'off' THEN"},
}

// pointFunctions come before the migration's. A session stops at the point that its setting ensue.stop names while
// somebody holds it; with the setting ensue.pause, a probability, it waits up to 40 ms when it has drawn a number.
const pointFunctions = `
CREATE FUNCTION ${schema}.point(name text) RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$
BEGIN
  IF current_setting('ensue.stop', true) = name THEN
    PERFORM pg_advisory_lock_shared(hashtextextended('${schema} ' || name, 0));
    PERFORM pg_advisory_unlock_shared(hashtextextended('${schema} ' || name, 0));
  END IF;
END $$;
CREATE FUNCTION ${schema}.drawn(n bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$
BEGIN
  PERFORM ${schema}.point('drawn');
  IF random() < coalesce(nullif(current_setting('ensue.pause', true), ''), '0')::float THEN
    PERFORM pg_sleep(random() * 0.04);
  END IF;
  RETURN n;
END $$;
`

// stageText is the migration with points in it. An edit may take the place of a point away.
func stageText(schema string, change edit) (string, error) {
	all, err := Migrations(schema)
	if err != nil {
		return "", err
	}
	quoted := pgx.Identifier{schema}.Sanitize()
	text := ""
	for _, m := range all {
		text += strings.ReplaceAll(m.Up, quoted, "${schema}")
	}
	if change != nil {
		if text, err = change(text); err != nil {
			return "", err
		}
	}
	for _, p := range points {
		if n := strings.Count(text, p[0]); n > 1 || n == 0 && change == nil {
			return "", fmt.Errorf("the migration has %d times, not once: %s", n, p[0])
		}
		text = strings.Replace(text, p[0], p[1], 1)
	}
	const first = "CREATE FUNCTION ${schema}.next_insertion()"
	if strings.Count(text, first) != 1 {
		return "", fmt.Errorf("the migration does not have once: %s", first)
	}
	text = strings.Replace(text, first, pointFunctions+first, 1)
	return strings.ReplaceAll(text, "${schema}", quoted), nil
}

// An actor is a connection that a script steps.
type actor struct {
	stage *stage
	conn  *pgx.Conn
}

func (s *stage) actor() *actor {
	s.Helper()
	return s.actorOn(s.address)
}

func (s *stage) actorOn(address string) *actor {
	s.Helper()
	conn, err := pgx.Connect(s.ctx, address)
	if err != nil {
		s.Fatalf("connect: %v", err)
	}
	s.Cleanup(func() { _ = conn.Close(context.WithoutCancel(s.ctx)) })
	return &actor{s, conn}
}

func (s *stage) sql(text string) string { return inSchema(s.schema, text) }

// pid is the id of the server's process.
func (a *actor) pid() int32 { return int32(a.conn.PgConn().PID()) } // #nosec G115 -- a process id

func (a *actor) try(text string, args ...any) error {
	_, err := a.conn.Exec(a.stage.ctx, a.stage.sql(text), args...)
	return err
}

func (a *actor) do(text string, args ...any) {
	a.stage.Helper()
	if err := a.try(text, args...); err != nil {
		a.stage.Fatalf("%s: %v", text, err)
	}
}

func (a *actor) begin() { a.do(`BEGIN`) }

func (a *actor) commit() {
	a.stage.Helper()
	a.do(`COMMIT`)
}

func (a *actor) rollback() { a.do(`ROLLBACK`) }

// append appends an event to each of the streams, in one call.
func (a *actor) append(streams ...string) {
	a.stage.Helper()
	if err := a.tryAppend(streams...); err != nil {
		a.stage.Fatalf("append to %v: %v", streams, err)
	}
}

// lockWait is how long an actor's append waits for others, in milliseconds.
const lockWait = 20_000 * time.Millisecond

func (a *actor) tryAppend(streams ...string) error {
	writes := make([]eventlog.Write, len(streams))
	for i, stream := range streams {
		writes[i] = eventlog.ToStream{Stream: stream, Events: []event.Event{{Type: "made"}}}
	}
	return a.tryWrites(writes...)
}

func (a *actor) tryWrites(writes ...eventlog.Write) error {
	r, err := encode(writes)
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		var got answer
		err = a.conn.QueryRow(a.stage.ctx, a.stage.sql(appendText), r.parts[0].args(a.stage.number, lockWait, false)...).Scan(got.targets()...)
		if err == nil {
			refused, err := got.take(r.parts[0], []*request{r})
			if err == nil {
				err = refused[0]
			}
			return err
		}
		if !again(err) || a.conn.PgConn().TxStatus() != 'I' || attempt == 10 {
			return err
		}
	}
}

// insert inserts an event by a statement of its own, without the function append.
func (a *actor) tryInsert(stream string, version int) error {
	return a.try(`WITH s AS MATERIALIZED (SELECT stream FROM ${schema}.streams WHERE name = $1)
		INSERT INTO ${schema}.events (insertion, module, id, stream, version, type, system, schema, data)
		SELECT ${schema}.next_insertion(), $2, gen_random_uuid(), stream, $3, 'made', false, 1, '' FROM s`, stream, a.stage.number, version)
}

// tryPass makes a pass, and tells whether it did or somebody else was at it.
func (a *actor) tryPass() (made bool, err error) {
	rows, err := a.conn.Query(a.stage.ctx, a.stage.sql(`SELECT module, head FROM ${schema}.pass()`))
	if err != nil {
		return false, err
	}
	var module, head int64
	_, err = pgx.ForEachRow(rows, []any{&module, &head}, func() error {
		if module == 0 {
			made = head == 1
		}
		return nil
	})
	return made, err
}

func (a *actor) pass() {
	a.stage.Helper()
	if made, err := a.tryPass(); err != nil || !made {
		a.stage.Fatalf("a pass: made %v, error %v", made, err)
	}
}

func (s *stage) pass() {
	s.Helper()
	s.stepper.pass()
}

// stopAt lets the actor stop at a point, while that is held.
func (a *actor) stopAt(point string) { a.do(`SELECT set_config('ensue.stop', $1, false)`, point) }

const pointKey = `(hashtextextended('${schema} ' || $1, 0))`

func (s *stage) hold(point string) { s.stepper.do(`SELECT pg_advisory_lock`+pointKey, point) }

func (s *stage) letGo(point string) { s.stepper.do(`SELECT pg_advisory_unlock`+pointKey, point) }

// aside runs what an actor does beside the script; ended returns its error when it is over.
func (s *stage) aside(do func() error) (ended func() error) {
	var err error
	over := make(chan struct{})
	go func() {
		defer close(over)
		err = do()
	}()
	s.Cleanup(func() { // before its connection is closed
		s.cancel()
		<-over
	})
	return func() error {
		<-over
		return err
	}
}

// must is for what was done aside.
func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%v", err)
	}
}

// waits returns when the actor waits for a lock.
func (s *stage) waits(a *actor) {
	s.Helper()
	s.eventually("an actor waits for a lock", func() bool {
		var waits bool
		s.scan(&waits, `SELECT coalesce(wait_event_type = 'Lock', false) FROM pg_stat_activity WHERE pid = $1`, a.pid())
		return waits
	})
}

func (s *stage) eventually(what string, is func() bool) {
	s.Helper()
	for deadline := time.Now().Add(s.patience); !is(); {
		if time.Now().After(deadline) {
			s.Fatalf("not in %v: %s", s.patience, what)
		}
		if err := pause(s.ctx, time.Millisecond); err != nil {
			s.Fatalf("%v", err)
		}
	}
}

func (s *stage) scan(target any, text string, args ...any) {
	s.Helper()
	if err := s.stepper.conn.QueryRow(s.ctx, s.sql(text), args...).Scan(target); err != nil {
		s.Fatalf("%s: %v", text, err)
	}
}

// numbered checks the log: its events in the order of positions, each as its stream and version.
func (s *stage) numbered(want string) {
	s.Helper()
	var got string
	s.scan(&got, `SELECT coalesce(string_agg(s.name || e.version, ' ' ORDER BY l.position), '')
		FROM ${schema}.log l JOIN ${schema}.events e USING (insertion) JOIN ${schema}.streams s USING (stream) WHERE s.name NOT LIKE 'noise%'`)
	if got != want {
		s.Fatalf("the log is %q, not %q; %s", got, want, s.state())
	}
}

// state is what the last pass knew of gaps.
func (s *stage) state() (state string) {
	s.scan(&state, `SELECT coalesce((SELECT format('gaps %s bounds %s ceiling %s running %s owners %s', p.gaps, p.bounds, p.ceiling, p.running, p.owners) FROM ${schema}.passes p ORDER BY pass DESC LIMIT 1), 'no gaps')
		|| (SELECT format(' parked %s', count(*)) FROM ${schema}.parked)`)
	if len(state) > 1000 {
		state = state[:1000] + "…"
	}
	return state
}

// gaps returns how many gaps passes look at, and parked how many they don't.
func (s *stage) gaps() (n int) {
	s.Helper()
	s.scan(&n, `SELECT coalesce((SELECT cardinality(gaps) FROM ${schema}.passes ORDER BY pass DESC LIMIT 1), 0)`)
	return n
}

func (s *stage) parked() (n int) {
	s.Helper()
	s.scan(&n, `SELECT coalesce(sum(cardinality(gaps)), 0)::int FROM ${schema}.parked`)
	return n
}

// finish ends a script, with all transactions ended: everything that is there gets a position, in the order of streams,
// and no gap is left.
func (s *stage) finish() {
	s.Helper()
	s.eventually("every event has a position, and no gap is left", func() bool {
		made, err := s.stepper.tryPass()
		if err != nil {
			s.Fatalf("a pass: %v", err)
		}
		var missing int
		s.scan(&missing, `SELECT count(*) FROM ${schema}.events WHERE NOT EXISTS (SELECT FROM ${schema}.log l WHERE l.insertion = events.insertion)`)
		return made && missing == 0 && s.gaps() == 0 && s.parked() == 0
	})
	s.ordered()
}

// ordered checks what holds at all times: streams are in the order of versions, positions have no holes.
func (s *stage) ordered() {
	s.Helper()
	var wrong, dense string
	s.scan(&wrong, `SELECT coalesce(string_agg(name || version || ' behind ' || before, ', '), '') FROM (
		SELECT s.name, e.version, lag(e.version) OVER (PARTITION BY s.stream ORDER BY l.position) AS before
		  FROM ${schema}.log l JOIN ${schema}.events e USING (insertion) JOIN ${schema}.streams s USING (stream)) x WHERE version < before`)
	if wrong != "" {
		s.Fatalf("streams out of order: %.500s", wrong)
	}
	s.scan(&dense, `SELECT coalesce(string_agg(module::text, ' '), '') FROM (SELECT module FROM ${schema}.log GROUP BY module HAVING min(position) <> 1 OR max(position) <> count(*)) x`)
	if dense != "" {
		s.Fatalf("positions have holes in the logs of modules %s", dense)
	}
}

// noise makes n gaps, by transactions that insert an event and are rolled back, each beside one that is committed. Their
// stream is left out of what numbered compares.
func (s *stage) noise(n int) {
	s.Helper()
	const insert = `INSERT INTO ${schema}.events (insertion, module, id, stream, version, type, system, schema, data)
		SELECT ${schema}.next_insertion(), module, gen_random_uuid(), stream, nextval('${schema}.revisions'), 'made', false, 1, '' FROM ${schema}.streams WHERE name = 'noise';`
	s.stepper.do(fmt.Sprintf(`DO $$ BEGIN
		INSERT INTO ${schema}.streams (module, name, version) VALUES (%d, 'noise', 0) ON CONFLICT DO NOTHING;
		COMMIT;
		FOR i IN 1 .. %d LOOP %s ROLLBACK; %[3]s COMMIT; END LOOP; END $$`, s.number, n, insert))
}

// A verdict is what a judge came to that does not end the test.
type verdict struct {
	tb       testing.TB // the test
	reason   string     // why it failed, if it did
	failed   bool
	cleanups []func()
}

func (v *verdict) Helper() {}

func (v *verdict) Cleanup(f func()) { v.cleanups = append(v.cleanups, f) }

func (v *verdict) Fatalf(format string, args ...any) {
	v.failed, v.reason = true, fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// judged runs something that may fail and returns why it did. Databases belong to the test.
func judged(tb testing.TB, do func(judge)) (reason string, failed bool) {
	v := &verdict{tb: tb}
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer func() {
			for i := len(v.cleanups) - 1; i >= 0; i-- {
				v.cleanups[i]()
			}
		}()
		do(v)
	}()
	<-over
	return v.reason, v.failed
}

// sqlStateIs checks an error's code.
func (s *stage) sqlStateIs(err error, code string) {
	s.Helper()
	if sqlState(err) != code {
		s.Fatalf("the error is %v, not one with the code %s", err, code)
	}
}

// silent is where the warnings go that are meant.
func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

// open opens the stage's schema as a program does.
func (s *stage) open(o Options) (*Database, *Log) {
	s.Helper()
	o.Schema = s.schema
	db, err := Open(s.ctx, s.address, o)
	if err != nil {
		s.Fatalf("open: %v", err)
	}
	s.Cleanup(func() { _ = db.Close() })
	log, err := db.Log(s.ctx, "shop")
	if err != nil {
		s.Fatalf("open a log: %v", err)
	}
	return db, log
}

func made(stream string) eventlog.Write {
	return eventlog.ToStream{Stream: stream, Events: []event.Event{{Type: "made"}}}
}
