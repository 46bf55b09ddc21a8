package pglog

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ensue-io/ensue/internal/pgtest"
)

// A mutant breaks one of the rules by which passes and writers keep the order. It is found by a script, or by the random
// test, whose window for it is widened by pauses.
type mutant struct {
	name    string
	changes [][2]string // what is found in the migration, once, and what takes its place
	finds   []func(*stage)
}

// Parts of the migration that mutants change.
const (
	tryLock   = "  IF NOT pg_try_advisory_xact_lock((x'454e535500000000')::bigint | 'events'::regclass::oid::bigint) THEN"
	drawing   = "  SELECT CASE WHEN pg_current_xact_id() > '0' THEN nextval('${schema}.insertions') END"
	probing   = "by_locks OR b >= known.ceiling OR coalesce(b > (SELECT x FROM gone), false) AS probe"
	nothing   = "    IF fresh IS NULL AND NOT ended THEN\n      RETURN;"
	running   = "  running := ARRAY(SELECT x FROM pg_snapshot_xip(seen) x);"
	mine      = "  mine := pg_current_xact_id();"
	lastly    = "  INSERT INTO passes VALUES (known.pass + 1,"
	drawnLate = "\n      SELECT next_insertion(), in_module, e_id[i], ids[w_stream[e_write[i]]], bases[e_write[i]] + e_nth[i],"
)

// oneShot is the end of the statement that reads gaps and fresh events.
const oneShot = "    ended := coalesce(true = ANY (probed), false);\n"

var mutants = []mutant{
	{"no gaps are kept", [][2]string{{lastly, "  gaps := '{}'; bounds := '{}';\n" + lastly}}, only(commitsOutOfOrder)},
	{"the bound is the snapshot's xmax", [][2]string{{mine, mine + "\n  mine := pg_snapshot_xmax(seen);"}}, only(ownerYoungerThanTheLastThatEnded)},
	{"the bound is the snapshot's xmin", [][2]string{{mine, mine + "\n  mine := pg_snapshot_xmin(seen);"}}, only(commitsOutOfOrder)},
	{"a number is drawn before the transaction has an id", [][2]string{{drawing, `  SELECT n FROM (SELECT ${schema}.drawn(nextval('${schema}.insertions')) AS n OFFSET 0) x, LATERAL (SELECT pg_current_xact_id() WHERE n > 0 OFFSET 0) y`}}, only(numberIsDrawnWithAnID)},
	{"a row's lock instead of the advisory one", [][2]string{{tryLock, "  PERFORM FROM modules FOR UPDATE;\n  IF false THEN"}}, only(ownerYoungerThanThePass)},
	{"a pass in a transaction that has an id", [][2]string{{"  IF pg_current_xact_id_if_assigned() IS NOT NULL THEN", "  IF false THEN"}}, only(passInATransactionThatHasAnID)},
	{"a pass under REPEATABLE READ", [][2]string{{"  IF current_setting('transaction_isolation') <> 'read committed' THEN", "  IF false THEN"}}, only(passInAnotherIsolation)},
	{"sessions keep numbers", [][2]string{{"CREATE SEQUENCE ${schema}.insertions AS bigint CACHE 1", "CREATE SEQUENCE ${schema}.insertions AS bigint CACHE 20"}}, only(sessionsKeepNoNumbers)},
	{"who runs is asked after gaps are looked for", [][2]string{{running, strings.Replace(running, "seen", "pg_current_snapshot()", 1)}}, only(ownerEndsDuringAPass)},
	{"a pass looks for few gaps", [][2]string{{"       WHERE c.probe)", "       WHERE c.probe LIMIT 2)"}}, only(everyPassLooksAtGaps)},
	{"every third pass looks for gaps", [][2]string{{probing, "known.pass % 3 = 0 AS probe"}}, only(everyPassLooksAtGaps)},
	{"gaps are looked for in an earlier statement", [][2]string{{oneShot, `    PERFORM ${schema}.point('seen');
    SELECT array_agg(insertion ORDER BY insertion), array_agg(module ORDER BY insertion) INTO fresh, fresh_in FROM events WHERE insertion > frontier;
` + oneShot}}, only(gapsAndFreshEventsAreReadAtOnce)},
	{"gaps get positions after fresh events", [][2]string{{"numbers := filled || fresh; modules := filled_in || fresh_in;", "numbers := fresh || filled; modules := fresh_in || filled_in;"}}, only(everyPassLooksAtGaps)},
	{"a number is drawn before the stream's lock", [][2]string{
		{"  nothing  text;\n", "  nothing  text;\n  early bigint[];\n"},
		{"  nothing := set_config('lock_timeout', wait::text, true);\n", "  nothing := set_config('lock_timeout', wait::text, true);\n  early := ARRAY(SELECT next_insertion() FROM unnest(e_id));\n"},
		{drawnLate, strings.Replace(drawnLate, "next_insertion()", "early[i]", 1)},
	}, only(numberIsDrawnBehindTheStreamsLock)},
	{"a join reorders the events of an append", [][2]string{
		{"      -- In the order of the arrays: a join might draw numbers in another order than that of versions.\n", "      PERFORM set_config('enable_nestloop', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'on', true);\n"},
		{"\n        FROM generate_series(1, cardinality(e_id)) i\n       WHERE codes[w_request[e_write[i]]] = 0;", "\n        FROM generate_series(1, cardinality(e_id)) i JOIN streams ON streams.stream = ids[w_stream[e_write[i]]] WHERE codes[w_request[e_write[i]]] = 0;"},
	}, only(eventsOfOneAppend)},
	{"lock and state in one statement", [][2]string{
		{tryLock, `  SELECT coalesce(max(insertion), 0) INTO frontier FROM log;
  PERFORM ${schema}.point('locked');
` + tryLock},
		{"  SELECT coalesce(max(insertion), 0) INTO frontier FROM log;\n  SELECT last_value", "  SELECT last_value"},
	}, only(stateIsReadBehindTheLock)},
	{"no lock", [][2]string{{tryLock, "  IF false THEN"}}, only(lockTaken)},
	{"locks are looked at after the snapshot", [][2]string{{running, `  IF by_locks THEN
    SELECT coalesce(array_agg(i.transactionid::text::bigint), '{}') INTO lockers
      FROM pg_locks r JOIN pg_locks i ON i.virtualtransaction = r.virtualtransaction AND i.locktype = 'transactionid' AND i.mode = 'ExclusiveLock'
     WHERE r.locktype = 'relation' AND r.relation = 'events'::regclass AND r.mode = 'RowExclusiveLock';
  END IF;
` + running}}, only(ownerEndsDuringAPassBesideManyGaps)},
	{"locks of prepared transactions don't count", [][2]string{{"     WHERE r.locktype = 'relation'", "     WHERE r.pid IS NOT NULL AND r.locktype = 'relation'"}}, only(preparedBesideManyGaps)},
	{"parked gaps are never woken", [][2]string{{"awake AS MATERIALIZED (\n      SELECT DISTINCT g FROM s,", "awake AS MATERIALIZED (\n      SELECT DISTINCT g FROM (SELECT * FROM s WHERE false) s,"}}, only(aLongWriter)},
	{"gaps are parked under one of their owners", [][2]string{
		{"array_fill(gang_of_oldest, ARRAY[cardinality(lasting)])", "array_fill(gang_of_oldest, ARRAY[1])"},
		{"group_owners := group_owners || lasting;", "group_owners := group_owners || lasting[1:1];"},
	}, only(twoLongWriters)},
	{"a new gap's owners may be younger than the snapshot, and are not thought of", [][2]string{{probing, strings.Replace(probing, "b >= known.ceiling OR ", "", 1)}}, only(ownerYoungerThanTheLastThatEnded)},
	{"the youngest that ended counts, not the oldest", [][2]string{{"OR pg_visible_in_snapshot(x, snapshot) ORDER BY x LIMIT 1)", "OR pg_visible_in_snapshot(x, snapshot) ORDER BY x DESC LIMIT 1)"}}, only(theOldestOwnerEndsWithAYoungerOne)},
	{"a pass with nothing new does not look", [][2]string{{nothing, strings.Replace(nothing, " AND NOT ended", "", 1)}}, only(commitsOutOfOrder)},
	{"what a partly filled gap has left is forgotten", [][2]string{{"int8multirange(k.g) - holes.numbers", "int8multirange(k.g) - range_merge(int8multirange(k.g))::int8multirange"}}, only(gapIsFilledInParts)},
	{"bounds from the future stay", [][2]string{{" OR k.b >= pg_snapshot_xmax(seen) OR EXISTS", " OR EXISTS"}, {"CASE WHEN k.b >= pg_snapshot_xmax(seen) THEN mine ELSE k.b END", "k.b"}}, only(gapsFromAYoungerCluster)},
	{"owners from the future are waited for", [][2]string{{"unnest(known.groups, known.owners) o(g, x) WHERE x >= pg_snapshot_xmax(snapshot) OR", "unnest(known.groups, known.owners) o(g, x) WHERE"}}, only(gapsFromAYoungerCluster)},
	{"appends don't look at the sequence", [][2]string{{"    IF cardinality(e_id) > 0 AND (SELECT last_value FROM insertions) < (SELECT max(insertion) FROM log) THEN", "    IF false THEN"}}, only(sequenceSetBackAndNobodyLooked)},
	{"only gaps of the oldest's owners are parked", [][2]string{{"GROUP BY n HAVING count(*) >= too_many / 4 ORDER BY n LIMIT 1", "GROUP BY n ORDER BY n LIMIT 1"}}, only(aLongWriterOfOneEventBesideAnother)},
	{"the sequence is not looked at", [][2]string{{"  IF drawn < frontier THEN", "  IF false THEN"}}, only(sequenceSetBack)},
	{"passes commit as their session does", [][2]string{{"  IF current_setting('synchronous_commit') = 'off' THEN", "  IF false THEN"}}, only(passesCommitSynchronously)},
	{"nothing is ever parked", [][2]string{{"    HAVING count(*) >= too_many / 4", "    HAVING false"}}, only(aLongWriter)},
	{"nobody looks at locks", [][2]string{{"  by_locks := cardinality(known.gaps) > too_many", "  by_locks := false AND cardinality(known.gaps) > too_many"}}, only(anIDInTheSameDatabase)},
}

func only(script func(*stage)) []func(*stage) { return []func(*stage){script} }

// mutate makes an edit of changes.
func mutate(changes [][2]string) edit {
	return func(text string) (string, error) {
		for _, c := range changes {
			if n := strings.Count(text, c[0]); n != 1 {
				return "", fmt.Errorf("the migration has %d times, not once: %s", n, c[0])
			}
			text = strings.Replace(text, c[0], c[1], 1)
		}
		return text, nil
	}
}

// TestG1_Mutants breaks the rules, one after the other, and expects that somebody notices. It has a server of its own:
// others' transactions, while they are open, hide wrong bounds.
func TestG1_Mutants(t *testing.T) {
	server := pgtest.New(t, pgtest.Options{})
	address := server.Database(t)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			if _, err := stageText("x", mutate(m.changes)); err != nil {
				t.Fatal(err)
			}
			for _, script := range m.finds {
				began := time.Now()
				reason, failed := judged(t, func(j judge) {
					s := newStage(j, address, mutate(m.changes))
					s.patience = 2 * time.Second
					script(s)
				})
				if !failed {
					t.Error("not found")
					continue
				}
				t.Logf("found in %v: %.300s", time.Since(began).Round(time.Millisecond), reason)
			}
		})
	}
}

// mutantsUnderLoad are found by the random test as well, which so is seen to find what it is for.
var mutantsUnderLoad = []string{
	"no gaps are kept", "every third pass looks for gaps", "who runs is asked after gaps are looked for", "a pass looks for few gaps", "a number is drawn before the stream's lock",
}

// Seeds of the loads, one after the other until a mutant is found.
var mutantSeeds = []uint64{1, 2, 3, 4, 5}

func TestG1_G2_MutantsUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("loads take long; TestG1_Mutants finds all of them")
	}
	server := newServer(t)
	for _, m := range mutants {
		if !slices.Contains(mutantsUnderLoad, m.name) {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			for _, seed := range mutantSeeds {
				began := time.Now()
				reason, failed := judged(t, func(j judge) {
					l := newCrowd(j, server, seed, mutate(m.changes))
					l.patience = 3 * time.Second
					l.run(2 * time.Second)
				})
				if failed {
					t.Logf("found with seed %d in %v: %.300s", seed, time.Since(began).Round(time.Millisecond), reason)
					return
				}
			}
			t.Error("not found")
		})
	}
}
