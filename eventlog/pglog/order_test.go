package pglog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// The scripts here step connections through what may go wrong with the order of events. A script that takes a stage is
// also what finds mutants, see order_mutants_test.go.

// Commits in another order than that of insertion numbers.

func TestG1_CommitsOutOfOrder(t *testing.T) { play(t, commitsOutOfOrder) }

func commitsOutOfOrder(s *stage) {
	a, b := s.actor(), s.actor()
	a.begin()
	a.append("a")
	b.append("b")
	s.pass()
	s.numbered("b1")
	a.commit()
	s.pass()
	s.numbered("b1 a1")
	s.finish()
}

func TestG1_EveryPassLooksAtGaps(t *testing.T) { play(t, everyPassLooksAtGaps) }

// everyPassLooksAtGaps has, in round after round, several events become visible in gaps, and then one behind them in their
// stream: all in one pass, in order.
func everyPassLooksAtGaps(s *stage) {
	a, b := s.actor(), s.actor()
	want := ""
	for round := range 4 {
		a.begin()
		for n := range 3 {
			a.append("a")
			b.append("b")
			want += fmt.Sprint(" b", 3*round+n+1)
		}
		s.pass()
		s.numbered(strings.TrimSpace(want))
		a.commit()
		b.append("a")
		s.pass()
		for n := range 4 {
			want += fmt.Sprint(" a", 4*round+n+1)
		}
		s.numbered(strings.TrimSpace(want))
	}
	s.finish()
}

func TestG1_TheOldestOwnerEndsWithAYoungerOne(t *testing.T) {
	play(t, theOldestOwnerEndsWithAYoungerOne)
}

func theOldestOwnerEndsWithAYoungerOne(s *stage) {
	a, b, c := s.actor(), s.actor(), s.actor()
	a.begin()
	a.append("a")
	c.append("c")
	s.pass() // the bound of a's gap is below the id of b's transaction
	b.begin()
	b.append("b")
	c.append("c")
	s.pass()
	s.pass()
	a.commit()
	b.commit()
	c.append("a")
	s.pass()
	s.numbered("c1 c2 a1 b1 a2")
	s.finish()
}

// Transactions that are prepared, and end later, from wherever.

func TestG1_PreparedTransaction(t *testing.T) { play(t, preparedTransaction) }

func TestG1_PreparedTransactionBesideManyGaps(t *testing.T) {
	play(t, preparedBesideManyGaps)
}

func preparedTransaction(s *stage) { preparedBeside(s, 1) }

func preparedBesideManyGaps(s *stage) { preparedBeside(s, 200) }

func preparedBeside(s *stage, gaps int) {
	a, b, c := s.actor(), s.actor(), s.actor()
	name := func(n int) string { return fmt.Sprintf("'%s %s %d'", a.conn.Config().Database, s.schema, n) } // names belong to the server
	s.Cleanup(func() {                                                                                     // or they would hide what others do wrong
		for n := range 2 {
			_ = s.stepper.try(`ROLLBACK PREPARED ` + name(n+1))
		}
	})
	a.begin()
	a.append("a")
	b.begin()
	b.append("b")
	c.append("c")
	s.pass()
	a.do(`PREPARE TRANSACTION ` + name(1))
	s.noise(gaps)
	s.pass()
	b.do(`PREPARE TRANSACTION ` + name(2))
	for range 3 {
		s.noise(gaps)
		s.pass()
	}
	c.do(`COMMIT PREPARED ` + name(1))
	c.append("a")
	s.pass()
	s.numbered("c1 a1 a2")
	s.noise(gaps)
	s.pass()
	c.do(`ROLLBACK PREPARED ` + name(2))
	c.append("b")
	s.finish()
	s.numbered("c1 a1 a2 b1")
}

func TestG1_PreparedTransactionSurvivesTheServer(t *testing.T) {
	server := pgtest.New(t, pgtest.Options{Durable: true})
	s := newStage(t, server.Database(t), nil)
	a := s.actor()
	a.begin()
	a.append("a")
	s.noise(200)
	s.pass()
	a.do(`PREPARE TRANSACTION 'one'`)
	s.noise(200)
	s.pass()
	server.Kill(t)
	server.Start(t)
	s.stepper = s.actor()
	for range 3 { // its virtual transaction id is another one now
		s.noise(200)
		s.pass()
	}
	s.stepper.do(`COMMIT PREPARED 'one'`)
	s.pass()
	s.numbered("a1")
	s.finish()
}

// Savepoints.

func TestG1_Savepoints(t *testing.T) { play(t, func(s *stage) { savepoints(s, 1) }) }

func TestG1_SavepointsBesideManyGaps(t *testing.T) { play(t, func(s *stage) { savepoints(s, 150) }) }

func savepoints(s *stage, gaps int) {
	released, back, later := s.actor(), s.actor(), s.actor()
	between := func() {
		s.noise(gaps)
		s.pass()
	}
	for _, a := range []*actor{released, back, later} {
		a.begin()
		a.do(`SAVEPOINT one`)
	}
	released.append("released")
	back.append("back")
	later.append("later")
	between()
	released.do(`RELEASE SAVEPOINT one`)
	back.do(`ROLLBACK TO SAVEPOINT one`)
	later.do(`ROLLBACK TO SAVEPOINT one`) // and with it its lock on the table, while its id stays
	between()
	later.append("later")
	between()
	later.do(`SAVEPOINT two`)
	later.append("later")
	between()
	later.do(`RELEASE SAVEPOINT two`)
	between()
	released.commit()
	s.pass()
	s.numbered("released1")
	between()
	back.commit()
	later.commit()
	s.finish()
	s.numbered("released1 later1 later2")
}

// Callers' transactions in every isolation.

func TestG1_CallersIsolation(t *testing.T) {
	for _, isolation := range []string{"READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"} {
		t.Run(isolation, func(t *testing.T) { play(t, func(s *stage) { callersIsolation(s, isolation) }) })
	}
}

func callersIsolation(s *stage, isolation string) {
	a, b, c := s.actor(), s.actor(), s.actor()
	a.do(`BEGIN ISOLATION LEVEL ` + isolation)
	a.do(`SELECT count(*) FROM ${schema}.events`) // its snapshot
	b.append("b")
	s.pass()
	a.append("a")
	c.append("c")
	s.pass()
	a.append("a")
	b.append("b")
	s.pass()
	s.numbered("b1 c1 b2")
	a.commit()
	s.pass()
	s.numbered("b1 c1 b2 a1 a2")
	a.do(`BEGIN ISOLATION LEVEL ` + isolation)
	a.do(`SELECT count(*) FROM ${schema}.events`)
	b.append("b")
	err := a.tryAppend("b")
	switch {
	case isolation == "READ COMMITTED":
		s.must(err)
	default:
		s.sqlStateIs(err, "40001") // the stream is not what it saw
	}
	a.rollback()
	s.finish()
	s.numbered("b1 c1 b2 a1 a2 b3")
}

// What a pass refuses.

func TestG1_PassInATransactionThatHasAnID(t *testing.T) { play(t, passInATransactionThatHasAnID) }

func passInATransactionThatHasAnID(s *stage) {
	a, b, p := s.actor(), s.actor(), s.actor()
	p.begin()
	p.do(`SELECT pg_current_xact_id()`)
	a.begin()
	a.append("a")
	b.append("b")
	_, err := p.tryPass()
	if err == nil { // then a's event is lost
		p.commit()
	} else {
		p.rollback()
	}
	s.pass()
	a.commit()
	s.finish()
	s.sqlStateIs(err, "ENS02")
}

func TestG1_PassInAnotherIsolation(t *testing.T) { play(t, passInAnotherIsolation) }

func passInAnotherIsolation(s *stage) {
	p := s.actor()
	for _, isolation := range []string{"REPEATABLE READ", "SERIALIZABLE"} {
		p.do(`BEGIN ISOLATION LEVEL ` + isolation)
		p.do(`SELECT 1`)
		s.stepper.append("a")
		_, err := p.tryPass()
		s.sqlStateIs(err, "ENS02")
		p.rollback()
	}
	s.finish()
}

// One pass at a time.

func TestG1_LockTaken(t *testing.T) { play(t, lockTaken) }

func lockTaken(s *stage) {
	p, q := s.actor(), s.actor()
	p.begin()
	p.pass()
	q.append("a")
	if made, err := q.tryPass(); made || err != nil {
		s.Fatalf("a second pass at the same time: made %v, error %v", made, err)
	}
	s.numbered("")
	p.commit()
	q.pass()
	s.numbered("a1")
	s.finish()
}

func TestG1_StateIsReadBehindTheLock(t *testing.T) { play(t, stateIsReadBehindTheLock) }

// stateIsReadBehindTheLock has a pass that begins while another one numbers the same events.
func stateIsReadBehindTheLock(s *stage) {
	p, q := s.actor(), s.actor()
	p.stopAt("locked")
	s.hold("locked")
	s.stepper.append("a")
	var made bool
	ended := s.aside(func() (err error) {
		made, err = p.tryPass()
		return err
	})
	s.waits(p)
	if _, err := q.tryPass(); err != nil { // in vain, if p has the lock already
		s.Fatalf("a pass beside another: %v", err)
	}
	q.append("b")
	s.letGo("locked")
	if err := ended(); err != nil || !made {
		s.Fatalf("a pass beside another: made %v, error %v", made, err)
	}
	s.pass()
	s.numbered("a1 b1")
	s.finish()
}

func TestG1_LostWakeUp(t *testing.T) {
	s := newStage(t, pgtest.Database(t), nil)
	p := s.actor()
	p.stopAt("seen")
	s.hold("seen")
	s.stepper.append("before")
	ended := s.aside(func() error {
		_, err := p.tryPass()
		return err
	})
	s.waits(p) // it has its snapshot
	_, log := s.open(Options{NoListen: true})
	if _, err := log.Append(t.Context(), made("a")); err != nil {
		t.Fatal(err)
	}
	s.numbered("")
	s.letGo("seen")
	s.must(ended())
	s.eventually("what was appended during a pass is numbered without anybody's help", func() bool {
		var n int
		s.scan(&n, `SELECT count(*) FROM ${schema}.log`)
		return n == 2
	})
	s.numbered("before1 a1")
	s.finish()
}

func TestG1_ReadSeesWhatWasAppendedDuringAPass(t *testing.T) {
	s := newStage(t, pgtest.Database(t), nil)
	p := s.actor()
	p.stopAt("seen")
	s.hold("seen")
	s.stepper.append("before")
	ended := s.aside(func() error {
		_, err := p.tryPass()
		return err
	})
	s.waits(p)
	_, log := s.open(Options{NoListen: true})
	if _, err := log.Append(t.Context(), made("a")); err != nil {
		t.Fatal(err)
	}
	var streams []string
	read := s.aside(func() error {
		for e, err := range log.Read(s.ctx, eventlog.Query{}) {
			if err != nil {
				return err
			}
			streams = append(streams, e.Stream)
		}
		return nil
	})
	s.letGo("seen")
	s.must(ended())
	s.must(read())
	if fmt.Sprint(streams) != "[before a]" {
		t.Fatalf("a read after an append saw %v", streams)
	}
}

// The sequence.

func TestG1_SequenceSetBack(t *testing.T) { play(t, sequenceSetBack) }

func sequenceSetBack(s *stage) {
	a := s.actor()
	a.append("a")
	a.begin()
	a.append("a") // a gap that is given up
	a.rollback()
	for range 4 {
		a.append("a")
	}
	s.finish()
	s.numbered("a1 a2 a3 a4 a5")
	a.do(`SELECT setval('${schema}.insertions', 1)`)
	if err := a.tryAppend("b"); err == nil {
		s.Fatalf("an append took an insertion number below those that passes are done with; no pass will ever look there")
	} else {
		s.sqlStateIs(err, "ENS01")
	}
	_, err := a.tryPass()
	s.sqlStateIs(err, "ENS01")
	a.do(`SELECT setval('${schema}.insertions', 6)`)
	a.append("a")
	s.finish()
	s.numbered("a1 a2 a3 a4 a5 a6")
}

func TestG1_SequenceSetBackAndNobodyLooked(t *testing.T) { play(t, sequenceSetBackAndNobodyLooked) }

// sequenceSetBackAndNobodyLooked has the sequence pass the frontier again before there is a pass.
func sequenceSetBackAndNobodyLooked(s *stage) {
	a := s.actor()
	a.begin()
	a.append("a", "a", "a")
	a.rollback()
	a.append("a")
	s.finish()
	a.do(`SELECT setval('${schema}.insertions', 1)`)
	for range 6 { // some fail
		_ = a.tryAppend("a")
	}
	if _, err := s.stepper.tryPass(); sqlState(err) == "ENS01" {
		a.do(`SELECT setval('${schema}.insertions', 4)`)
	}
	s.finish()
}

func TestG1_SequenceIsCheckedWhenOpened(t *testing.T) {
	s := newStage(t, pgtest.Database(t), nil)
	db, _ := s.open(Options{})
	_ = db.Close()
	for _, change := range []string{`CACHE 32`, `INCREMENT BY 2`, `CYCLE`} {
		s.stepper.do(`ALTER SEQUENCE ${schema}.insertions ` + change)
		if _, err := Open(t.Context(), s.address, Options{Schema: s.schema}); !errors.Is(err, ErrSequence) {
			t.Errorf("open with %s: %v", change, err)
		}
		s.stepper.do(`ALTER SEQUENCE ${schema}.insertions CACHE 1 INCREMENT BY 1 NO CYCLE`)
	}
	s.stepper.append("a", "a", "a")
	s.pass()
	s.stepper.do(`SELECT setval('${schema}.insertions', 1)`)
	if _, err := Open(t.Context(), s.address, Options{Schema: s.schema}); !errors.Is(err, ErrSequence) {
		t.Errorf("open with the sequence set back: %v", err)
	}
}

func TestG1_SessionsKeepNoNumbers(t *testing.T) { play(t, sessionsKeepNoNumbers) }

func sessionsKeepNoNumbers(s *stage) {
	a, b := s.actor(), s.actor()
	a.append("a")
	b.append("b")
	s.pass()
	s.pass()
	a.append("a")
	s.finish()
	s.numbered("a1 b1 a2")
}

// Who may own a gap.

func TestG1_GapIsFilledInParts(t *testing.T) { play(t, gapIsFilledInParts) }

func gapIsFilledInParts(s *stage) {
	a, b, c, d := s.actor(), s.actor(), s.actor(), s.actor()
	for _, x := range []*actor{a, b, c} {
		x.begin()
	}
	a.append("a")
	b.append("b", "b")
	c.append("c")
	a.append("a")
	d.append("d")
	s.pass()
	s.numbered("d1")
	b.commit()
	s.pass()
	s.numbered("d1 b1 b2")
	c.rollback()
	s.pass()
	a.commit()
	d.append("a")
	s.pass()
	s.numbered("d1 b1 b2 a1 a2 a3")
	s.finish()
}

func TestG1_OwnerYoungerThanTheLastThatEnded(t *testing.T) { play(t, ownerYoungerThanTheLastThatEnded) }

// ownerYoungerThanTheLastThatEnded has a gap whose owner's id is not below the xmax of the snapshot that finds the gap:
// that is one above the highest id whose transaction has ended.
func ownerYoungerThanTheLastThatEnded(s *stage) {
	a, b := s.actor(), s.actor()
	b.begin()
	b.do(`SELECT pg_current_xact_id()`)
	a.begin()
	a.append("a")
	b.append("b")
	b.commit()
	s.pass()
	s.pass()
	s.numbered("b1")
	a.commit()
	s.pass()
	s.numbered("b1 a1")
	s.finish()
}

func TestG1_OwnerYoungerThanThePass(t *testing.T) { play(t, ownerYoungerThanThePass) }

// ownerYoungerThanThePass has a gap whose owner began while the pass had the lock already, before its snapshot.
func ownerYoungerThanThePass(s *stage) {
	a, b, p := s.actor(), s.actor(), s.actor()
	p.stopAt("looked")
	s.hold("looked")
	ended := s.aside(func() error {
		_, err := p.tryPass()
		return err
	})
	s.waits(p)
	a.begin()
	a.append("a")
	b.append("b")
	s.letGo("looked")
	s.must(ended())
	s.pass()
	s.numbered("b1")
	a.commit()
	s.pass()
	s.numbered("b1 a1")
	s.finish()
}

func TestG1_NumberIsDrawnWithAnID(t *testing.T) { play(t, numberIsDrawnWithAnID) }

// numberIsDrawnWithAnID stops a writer between drawing its number and inserting the row, which is when a transaction gets
// an id at the latest.
func numberIsDrawnWithAnID(s *stage) {
	a, b := s.actor(), s.actor()
	a.append("a")
	a.stopAt("drawn")
	s.hold("drawn")
	ended := s.aside(func() error { return a.tryInsert("a", 2) })
	s.waits(a)
	b.append("b")
	s.pass()
	s.pass()
	s.letGo("drawn")
	s.must(ended())
	s.finish()
	s.numbered("a1 b1 a2")
}

func TestG1_OwnerEndsDuringAPass(t *testing.T) { play(t, ownerEndsDuringAPass) }

// ownerEndsDuringAPass has a gap's owner commit between the pass's snapshot and its end.
func ownerEndsDuringAPass(s *stage) { ownerEnds(s, "seen", 1) }

func TestG1_OwnerEndsDuringAPassBesideManyGaps(t *testing.T) {
	play(t, ownerEndsDuringAPassBesideManyGaps)
}

func ownerEndsDuringAPassBesideManyGaps(s *stage) { ownerEnds(s, "seen", 200) }

func TestG1_OwnerEndsBeforeTheSnapshotBesideManyGaps(t *testing.T) {
	play(t, func(s *stage) { ownerEnds(s, "looked", 200) })
}

func ownerEnds(s *stage, point string, gaps int) {
	a, b, p := s.actor(), s.actor(), s.actor()
	a.begin()
	a.append("a")
	s.noise(gaps)
	s.pass()
	b.append("b")
	p.stopAt(point)
	s.hold(point)
	ended := s.aside(func() error {
		_, err := p.tryPass()
		return err
	})
	s.waits(p)
	a.commit()
	b.append("a")
	s.letGo(point)
	s.must(ended())
	s.finish()
	switch point {
	case "seen":
		s.numbered("b1 a1 a2")
	case "looked":
		s.numbered("a1 b1 a2")
	}
}

func TestG1_OwnerOfALockThatCameAfterTheLook(t *testing.T) { play(t, ownerOfALockThatCameAfterTheLook) }

// ownerOfALockThatCameAfterTheLook has a writer with an id, that has no lock on the events when a pass looks at locks.
func ownerOfALockThatCameAfterTheLook(s *stage) {
	a, b, c, p := s.actor(), s.actor(), s.actor(), s.actor()
	c.begin()
	c.append("c")
	s.noise(200)
	s.pass()
	a.begin()
	a.do(`SELECT pg_current_xact_id()`)
	p.stopAt("looked")
	s.hold("looked")
	ended := s.aside(func() error {
		_, err := p.tryPass()
		return err
	})
	s.waits(p)
	a.append("a")
	b.append("b")
	s.letGo("looked")
	s.must(ended())
	for range 2 {
		s.noise(200)
		s.pass()
	}
	s.numbered("b1")
	a.commit()
	s.pass()
	s.numbered("b1 a1")
	c.commit()
	s.finish()
	s.numbered("b1 a1 c1")
}

// Gaps are given up.

func TestG3_GapsOfRolledBackAppendsEnd(t *testing.T) { play(t, gapsOfRolledBackAppendsEnd) }

func gapsOfRolledBackAppendsEnd(s *stage) {
	a := s.actor()
	a.begin()
	a.append("a")
	s.stepper.append("b")
	s.pass()
	if s.gaps() != 1 {
		s.Fatalf("%d gaps", s.gaps())
	}
	a.rollback()
	s.finish()
	s.numbered("b1")
}

// boundedGaps is how many gaps passes may look at, however many there are.
const boundedGaps = 400

func TestG3_TransactionsThatAreNoWriters(t *testing.T) {
	for name, statements := range map[string][]string{
		"a snapshot":                     {`BEGIN ISOLATION LEVEL REPEATABLE READ`, `SELECT count(*) FROM ${schema}.events`},
		"an id":                          {`BEGIN`, `SELECT pg_current_xact_id()`},
		"an id and a lock for reading":   {`BEGIN`, `SELECT pg_current_xact_id()`, `SELECT count(*) FROM ${schema}.events`},
		"an id in another database":      {`BEGIN`, `SELECT pg_current_xact_id()`},
		"a table of that name elsewhere": {`BEGIN`, `CREATE SCHEMA elsewhere`, `CREATE TABLE elsewhere.events ()`, `INSERT INTO elsewhere.events DEFAULT VALUES`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, pgtest.Database(t), nil)
			holder := s.actor()
			if name == "an id in another database" {
				holder = s.actorOn(pgtest.Database(t))
			}
			notAWriter(s, holder, statements)
		})
	}
}

func anIDInTheSameDatabase(s *stage) {
	notAWriter(s, s.actor(), []string{`BEGIN`, `SELECT pg_current_xact_id()`})
}

func notAWriter(s *stage, holder *actor, statements []string) {
	s.noise(1)
	for _, statement := range statements {
		holder.do(statement)
	}
	for range 10 {
		s.noise(100)
		s.pass()
		s.ordered()
	}
	s.noise(1)
	s.pass()
	s.noise(1)
	s.pass()
	if n := s.gaps() + s.parked(); n > boundedGaps {
		s.Fatalf("%d gaps stay with somebody who appends nothing", n)
	}
	s.stepper.append("b")
	s.pass()
	s.numbered("b1")
	holder.rollback()
	s.finish()
}

// Writers that are open for long.

func TestG3_ALongWriter(t *testing.T) { play(t, aLongWriter) }

func aLongWriter(s *stage) {
	a := s.actor()
	a.begin()
	for range 10 {
		a.append("a")
		s.noise(1)
	}
	for range 10 {
		s.noise(100)
		s.pass()
	}
	if n := s.gaps(); n > boundedGaps {
		s.Fatalf("a pass looks at %d gaps", n)
	}
	if n := s.parked(); n < 500 {
		s.Fatalf("%d gaps are parked", n)
	}
	a.append("a")
	s.noise(1)
	s.pass()
	a.commit()
	s.stepper.append("a")
	s.pass()
	s.numbered("a1 a2 a3 a4 a5 a6 a7 a8 a9 a10 a11 a12")
	s.finish()
}

func TestG3_TwoLongWriters(t *testing.T) { play(t, twoLongWriters) }

// twoLongWriters has owners of gaps in several groups: an end of either is noticed, whichever comes first.
func twoLongWriters(s *stage) {
	for _, first := range []string{"a", "b"} {
		a, b := s.actor(), s.actor()
		var before string
		s.scan(&before, `SELECT coalesce(string_agg(s.name || e.version, ' ' ORDER BY l.position), '')
			FROM ${schema}.log l JOIN ${schema}.events e USING (insertion) JOIN ${schema}.streams s USING (stream) WHERE s.name NOT LIKE 'noise%'`)
		more := func() {
			for range 3 {
				s.noise(150)
				s.pass()
			}
		}
		a.begin()
		a.append("a" + first)
		more()
		b.begin()
		b.append("b" + first)
		more()
		a.append("a" + first)
		b.append("b" + first)
		more()
		firstly, secondly, then := a, b, []string{fmt.Sprintf(" a%s1 a%[1]s2", first), fmt.Sprintf(" b%s1 b%[1]s2", first)}
		if first == "b" {
			firstly, secondly, then = b, a, []string{then[1], then[0]}
		}
		firstly.commit()
		s.pass()
		s.numbered(strings.TrimSpace(before + then[0]))
		more()
		secondly.commit()
		s.pass()
		s.numbered(strings.TrimSpace(before + then[0] + then[1]))
		s.finish()
	}
}

func TestG3_ALongWriterOfOneEventBesideAnother(t *testing.T) {
	play(t, aLongWriterOfOneEventBesideAnother)
}

// aLongWriterOfOneEventBesideAnother has few gaps that only the oldest writer can own, and many that two can.
func aLongWriterOfOneEventBesideAnother(s *stage) {
	a, b := s.actor(), s.actor()
	a.begin()
	a.append("a")
	s.noise(1)
	s.pass()
	b.begin()
	b.append("b")
	for range 10 {
		s.noise(100)
		s.pass()
	}
	if n := s.gaps(); n > boundedGaps {
		s.Fatalf("a pass looks at %d gaps", n)
	}
	b.commit()
	s.pass()
	s.numbered("b1")
	a.commit()
	s.pass()
	s.numbered("b1 a1")
	s.finish()
}

func TestG3_ManyLongWriters(t *testing.T) { play(t, manyLongWriters) }

// manyLongWriters end in another order than they began.
func manyLongWriters(s *stage) {
	const n = 8
	actors := make([]*actor, n)
	for i := range actors {
		actors[i] = s.actor()
		actors[i].begin()
		actors[i].append(fmt.Sprint("w", i, "/"))
		s.noise(60)
		s.pass()
	}
	want := ""
	for i := range actors {
		i = (i*3 + 2) % n
		actors[i].append(fmt.Sprint("w", i, "/"))
		s.noise(60)
		s.pass()
		actors[i].commit()
		s.pass()
		want = strings.TrimSpace(fmt.Sprintf("%s w%d/1 w%[2]d/2", want, i))
		s.numbered(want)
	}
	s.finish()
}

// More than one pass takes.

func TestG1_ManyEventsInOneCommit(t *testing.T) { play(t, manyEventsInOneCommit) }

// manyEventsInOneCommit has more fresh events than a pass takes, with a gap that is filled between two passes over them.
func manyEventsInOneCommit(s *stage) {
	const n = 45_000
	a, b, c := s.actor(), s.actor(), s.actor()
	a.append("a")
	b.begin()
	b.append("b")
	a.begin()
	a.do(`INSERT INTO ${schema}.events (insertion, module, id, stream, version, type, system, schema, data)
		SELECT ${schema}.next_insertion(), $1, gen_random_uuid(), (SELECT stream FROM ${schema}.streams WHERE name = 'a'), v, 'made', false, 1, '' FROM generate_series(2, $2::int) v`, s.number, n)
	b.append("b")
	a.do(`UPDATE ${schema}.streams SET version = $1 WHERE name = 'a'`, n)
	a.commit()
	b.append("b")
	s.pass()
	var head int
	s.scan(&head, `SELECT max(position) FROM ${schema}.log`)
	if head < 10_000 || head >= n {
		s.Fatalf("a pass numbered %d of %d events: others wait for it", head, n)
	}
	b.commit()
	c.append("b", "a")
	s.finish()
	s.scan(&head, `SELECT max(position) FROM ${schema}.log`)
	if head != n+5 {
		s.Fatalf("the head is %d", head)
	}
}

// A pass's commit is durable.

func TestG1_PassesCommitSynchronously(t *testing.T) { play(t, passesCommitSynchronously) }

func passesCommitSynchronously(s *stage) {
	p := s.actor()
	p.do(`SET synchronous_commit = off`)
	for _, before := range []func(){
		func() { s.stepper.append("a") }, // fresh events
		func() { // and only gaps
			s.noise(1)
			s.pass()
		},
	} {
		before()
		p.begin()
		p.pass()
		var setting string
		s.must(p.conn.QueryRow(s.ctx, `SELECT current_setting('synchronous_commit')`).Scan(&setting))
		if setting != "on" {
			s.Fatalf("a pass's transaction commits with synchronous_commit = %s", setting)
		}
		p.commit()
	}
	s.finish()
}

// Gaps of another cluster, as a dump brings them.

func TestG1_GapsFromAYoungerCluster(t *testing.T) { play(t, gapsFromAYoungerCluster) }

// gapsFromAYoungerCluster has gaps whose bounds and owners are ids that this cluster has not come to yet.
func gapsFromAYoungerCluster(s *stage) {
	a, b, c := s.actor(), s.actor(), s.actor()
	a.begin()
	a.append("a")
	s.noise(40)
	b.append("b")
	s.pass()
	s.noise(40)
	s.pass()
	const far = "1000000000000"
	s.stepper.do(`INSERT INTO ${schema}.parked (gang, gaps, bounds) SELECT 7, gaps[2:], array_fill('` + far + `'::xid8, ARRAY[cardinality(gaps) - 1]) FROM ${schema}.passes ORDER BY pass DESC LIMIT 1`)
	s.stepper.do(`INSERT INTO ${schema}.passes (pass, gaps, bounds, ceiling, running, groups, owners)
		SELECT pass + 1, gaps[:1], '{` + far + `}', '` + far + `9', '{` + far[:12] + `}', '{7,7}', '{` + far[:11] + `,` + far + `}' FROM ${schema}.passes ORDER BY pass DESC LIMIT 1`)
	s.pass()
	s.pass()
	if s.parked() > 0 {
		s.Fatalf("%d gaps stay parked under owners that don't exist", s.parked())
	}
	c.begin() // its id is below those from the future
	c.append("c")
	s.noise(1)
	s.pass()
	a.commit()
	s.pass()
	s.numbered("b1 a1")
	if n := s.gaps(); n > 2 {
		s.Fatalf("%d gaps stay with a writer that came later; %s", n, s.state())
	}
	c.commit()
	s.finish()
}

func TestG3_DumpedGapsEnd(t *testing.T) {
	from, to := pgtest.New(t, pgtest.Options{}), pgtest.New(t, pgtest.Options{})
	s := newStage(t, from.Database(t), nil)
	s.stepper.do(`DO $$ BEGIN FOR i IN 1 .. 5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$`) // the other cluster's ids are far behind
	a := s.actor()
	a.begin()
	a.append("a")
	for range 4 {
		s.noise(100)
		s.pass()
	}
	if s.parked() == 0 {
		t.Fatal("nothing is parked")
	}
	b := s.actor()
	b.begin()
	b.append("b")
	s.noise(1)
	s.pass()
	restored := to.Database(t)
	other := &stage{judge: t, address: restored, schema: s.schema, number: s.number, patience: s.patience}
	other.ctx, other.cancel = context.WithCancel(t.Context())
	defer other.cancel()
	other.stepper = other.actor()
	dump := from.Program(t, "pg_dump", "--inserts", "--no-owner", a.conn.Config().Database)
	var plain []string
	for line := range strings.Lines(dump) {
		if !strings.HasPrefix(line, `\`) { // for psql
			plain = append(plain, line)
		}
	}
	if err := script(t.Context(), other.stepper.conn, strings.Join(plain, "")); err != nil {
		t.Fatal(err)
	}
	other.stepper = other.actor()
	if other.parked() == 0 || other.gaps() == 0 {
		t.Fatalf("the dump has %d gaps and %d that are parked", other.gaps(), other.parked())
	}
	other.finish()
	other.stepper.append("c")
	other.finish()
	other.numbered("c1")
}

// Streams.

func TestG2_NumberIsDrawnBehindTheStreamsLock(t *testing.T) {
	play(t, numberIsDrawnBehindTheStreamsLock)
}

// numberIsDrawnBehindTheStreamsLock has an append wait for another to the same stream: one that is new, and one that is not.
func numberIsDrawnBehindTheStreamsLock(s *stage) {
	a, b := s.actor(), s.actor()
	for range 2 {
		a.begin()
		a.append("a")
		ended := s.aside(func() error { return b.tryAppend("a") })
		s.waits(b)
		a.append("a")
		s.pass()
		a.commit()
		s.must(ended())
		s.pass()
	}
	s.numbered("a1 a2 a3 a4 a5 a6")
	s.finish()
}

func TestG2_EventsOfOneAppend(t *testing.T) { play(t, eventsOfOneAppend) }

// eventsOfOneAppend has the events of one append in the order in which they stand in it, in streams that are there and in
// new ones.
func eventsOfOneAppend(s *stage) {
	a := s.actor()
	for i := range 50 {
		a.append(fmt.Sprint("z", 50-i, "/"))
	}
	a.begin() // with a tag, and without
	var streams []string
	want := ""
	for _, tags := range [][]event.Tag{nil, {{Key: "k", Value: "v"}}} {
		var writes []eventlog.Write
		for n := range 300 {
			stream := fmt.Sprint("z", n*7%60+1, "/")
			streams = append(streams, stream)
			writes = append(writes, eventlog.ToStream{Stream: stream, Events: []event.Event{{Type: "made", Tags: tags}, {Type: "made"}}})
		}
		s.must(a.tryWrites(writes...))
	}
	a.commit()
	s.finish()
	versions := map[string]int{}
	for i := range 50 {
		stream := fmt.Sprint("z", 50-i, "/")
		versions[stream] = 1
		want += fmt.Sprint(" ", stream, 1)
	}
	for _, stream := range streams {
		for range 2 {
			versions[stream]++
			want += fmt.Sprint(" ", stream, versions[stream])
		}
	}
	s.numbered(strings.TrimSpace(want))
}

func TestG2_GapsAndFreshEventsAreReadAtOnce(t *testing.T) { play(t, gapsAndFreshEventsAreReadAtOnce) }

// gapsAndFreshEventsAreReadAtOnce has a gap filled, and then an event behind it in its stream committed, at any moment of
// a pass.
func gapsAndFreshEventsAreReadAtOnce(s *stage) {
	for i, point := range []string{"locked", "looked", "seen"} {
		a, b, p := s.actor(), s.actor(), s.actor()
		stream := fmt.Sprint("a", i, "/")
		a.begin()
		a.append(stream)
		s.noise(1)
		s.pass()
		s.noise(1)
		p.stopAt(point)
		s.hold(point)
		ended := s.aside(func() error {
			_, err := p.tryPass()
			return err
		})
		s.waits(p)
		a.commit()
		b.append(stream)
		s.letGo(point)
		s.must(ended())
		s.finish()
	}
	s.numbered("a0/1 a0/2 a1/1 a1/2 a2/1 a2/2")
}

func TestG2_WhatWasCommittedBeforeComesBefore(t *testing.T) {
	play(t, whatWasCommittedBeforeComesBefore)
}

// whatWasCommittedBeforeComesBefore has an event that was committed before another's append began, in another stream,
// where the first fills a gap and the second is fresh, and where both fill gaps.
func whatWasCommittedBeforeComesBefore(s *stage) {
	a, b := s.actor(), s.actor()
	for i, name := range []string{"one", "two", "three"} {
		a.begin()
		a.append(name + "a")
		s.noise(1)
		s.pass()
		if i > 0 {
			b.begin()
			b.do(`SELECT pg_current_xact_id()`)
		}
		a.commit()
		b.append(name + "b")
		if i == 1 {
			s.noise(1)
			s.pass()
			s.noise(1)
		}
		if i > 0 {
			b.commit()
		}
		s.pass()
	}
	s.numbered("onea1 oneb1 twoa1 twob1 threea1 threeb1")
	s.finish()
}

// Waiting for others, and not.

func TestG3_OpenWriterHoldsUpItsStreamsAlone(t *testing.T) {
	s := newStage(t, pgtest.Database(t), nil)
	a := s.actor()
	a.append("a")
	a.begin()
	a.append("a")
	_, log := s.open(Options{LockWait: 500 * time.Millisecond})
	ctx := t.Context()
	began := time.Now()
	busy := s.aside(func() error {
		_, err := log.Append(ctx, made("a"))
		return err
	})
	for n := range 50 {
		if _, err := log.Append(ctx, made(fmt.Sprint("b/", n))); err != nil {
			t.Fatal(err)
		}
	}
	head, err := log.Head(ctx)
	if err != nil || head != 51 {
		t.Fatalf("the head is %d, error %v", head, err)
	}
	if err := busy(); !errors.Is(err, eventlog.ErrBusy) {
		t.Fatalf("an append to a stream that is held: %v", err)
	}
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("an append waited only %v for an open transaction", took)
	}
	a.commit()
	if _, err := log.Append(ctx, eventlog.ToStream{Stream: "a", Expect: eventlog.Exactly(2), Events: []event.Event{{Type: "made"}}}); err != nil {
		t.Fatal(err)
	}
	s.finish()
}

func TestG3_GroupWithAHeldStream(t *testing.T) {
	s := newStage(t, pgtest.Database(t), nil)
	a := s.actor()
	a.append("a")
	a.begin()
	a.append("a")
	// The first group is kept until all others are in the queue.
	first, all := make(chan struct{}), make(chan struct{})
	let := sync.OnceFunc(func() { close(all) })
	t.Cleanup(let)
	sizes := make(chan int, 100)
	_, log := s.open(Options{LockWait: 20 * time.Second, hooks: hooks{group: func(n int) {
		select {
		case sizes <- n:
		default:
		}
		select {
		case <-all:
		default:
			first <- struct{}{}
			<-all
		}
	}}})
	appended := func(stream string) func() error {
		return s.aside(func() error {
			_, err := log.Append(s.ctx, made(stream))
			return err
		})
	}
	opening := s.aside(func() error { // more than a few, beside which nothing is sent
		_, err := log.Append(s.ctx, eventlog.ToStream{Stream: "opening", Events: slices.Repeat([]event.Event{{Type: "made"}}, aFew+1)})
		return err
	})
	<-first
	held := appended("a")
	var others []func() error
	for n := range 20 {
		others = append(others, appended(fmt.Sprint("b/", n)))
	}
	s.eventually("all are in the queue", func() bool {
		log.writer.mu.Lock()
		defer log.writer.mu.Unlock()
		return len(log.writer.queue) == 21
	})
	let()
	s.must(opening())
	for _, ended := range others {
		s.must(ended())
	}
	a.commit()
	s.must(held())
	close(sizes)
	var groups []int
	for n := range sizes {
		groups = append(groups, n)
	}
	if len(groups) < 2 || groups[1] != 21 {
		t.Errorf("groups of %v: nothing shared a group with the append that met the lock", groups)
	}
	s.finish()
}

// TestG3_ManyAppendsToAHeldStream has more appends wait for an open transaction than there are connections.
func TestG3_ManyAppendsToAHeldStream(t *testing.T) {
	s := newStage(t, pgtest.Database(t), nil)
	a := s.actor()
	a.append("a")
	a.begin()
	a.append("a")
	const wait = 2 * time.Second
	_, log := s.open(Options{LockWait: wait, Connections: 4})
	var ends []func() error
	for range 12 {
		ends = append(ends, s.aside(func() error {
			_, err := log.Append(s.ctx, made("a"))
			return err
		}))
	}
	s.eventually("some wait", func() bool {
		var n int
		s.scan(&n, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`)
		return n >= 2
	})
	var slowest time.Duration
	for n := range 20 {
		began := time.Now()
		if _, err := log.Append(t.Context(), made(fmt.Sprint("b/", n))); err != nil {
			t.Fatal(err)
		}
		if _, err := log.Head(t.Context()); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(began))
	}
	if slowest > wait/2 {
		t.Errorf("an append to another stream waited %v for appends that wait for an open transaction", slowest)
	}
	a.rollback()
	for _, ended := range ends {
		if err := ended(); err != nil && !errors.Is(err, eventlog.ErrBusy) {
			t.Error(err)
		}
	}
	s.finish()
}

func TestG3_NoDeadlockBetweenAppends(t *testing.T) {
	s := newStage(t, pgtest.Database(t), nil)
	var ends []func() error
	for w := range 16 {
		a := s.actor()
		a.do(`SET deadlock_timeout = '10ms'`)
		ends = append(ends, s.aside(func() error {
			for n := range 20 {
				streams := []string{"a", "b", "c", "d"}
				for i := range streams {
					j := (w*7 + n*3 + i*5) % len(streams)
					streams[i], streams[j] = streams[j], streams[i]
				}
				if err := a.tryAppend(streams...); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for _, ended := range ends {
		s.must(ended())
	}
	s.finish()
}

func TestG3_DeadlockBetweenCallersTransactions(t *testing.T) {
	s := newStage(t, pgtest.Database(t), nil)
	_, log := s.open(Options{LockWait: 20 * time.Second})
	s.stepper.append("a", "b")
	actors := []*actor{s.actor(), s.actor()}
	txs := make([]pgx.Tx, len(actors))
	for i, stream := range []string{"a", "b"} {
		actors[i].do(`SET deadlock_timeout = '20ms'`)
		var err error
		if txs[i], err = actors[i].conn.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := log.AppendPgx(t.Context(), txs[i], made(stream)); err != nil {
			t.Fatal(err)
		}
	}
	var errs [2]error
	var ends []func() error
	for i, stream := range []string{"b", "a"} {
		ends = append(ends, s.aside(func() error {
			_, errs[i] = log.AppendPgx(s.ctx, txs[i], made(stream))
			if errs[i] != nil { // what was appended before is still there, and can be committed
				return txs[i].Commit(s.ctx)
			}
			return nil
		}))
	}
	for _, ended := range ends {
		s.must(ended())
	}
	committed := 0
	for i := range txs {
		switch {
		case errs[i] == nil:
			committed += 2
			s.must(txs[i].Commit(t.Context()))
		case errors.Is(errs[i], eventlog.ErrBusy):
			committed++
		default:
			t.Errorf("an append in a deadlock: %v", errs[i])
		}
	}
	if committed < 3 {
		t.Errorf("%d appends were committed, errors %v", committed, errs)
	}
	s.finish()
	var n int
	s.scan(&n, `SELECT count(*) FROM ${schema}.log`)
	if n != 2+committed {
		t.Errorf("the log has %d events, not %d", n, 2+committed)
	}
}

func TestG1_ConflictLeavesTheCallersTransactionAsItWas(t *testing.T) {
	s := newStage(t, pgtest.Database(t), nil)
	_, log := s.open(Options{})
	a, b := s.actor(), s.actor()
	s.stepper.append("a", "b", "c")
	a.do(`SET lock_timeout = '12345ms'`)
	tx, err := a.conn.Begin(t.Context())
	s.must(err)
	if _, err := log.AppendPgx(t.Context(), tx, made("a")); err != nil {
		t.Fatal(err)
	}
	_, err = log.AppendPgx(t.Context(), tx,
		eventlog.ToStream{Stream: "new", Events: []event.Event{{Type: "made"}}},
		eventlog.ToStream{Stream: "b", Expect: eventlog.Exactly(1), Events: []event.Event{{Type: "made"}}},
		eventlog.ToStream{Stream: "c", Expect: eventlog.Exactly(9), Events: []event.Event{{Type: "made"}}})
	var conflict *eventlog.ConflictError
	if !errors.As(err, &conflict) || conflict.Stream != "c" || conflict.Actual != 1 {
		t.Fatalf("an append with a conflict: %v", err)
	}
	var timeout string
	s.must(tx.QueryRow(t.Context(), `SHOW lock_timeout`).Scan(&timeout))
	if timeout != "12345ms" {
		t.Errorf("lock_timeout is %s afterwards", timeout)
	}
	b.append("b", "c", "new") // nothing is locked
	s.must(tx.Commit(t.Context()))
	s.must(a.conn.QueryRow(t.Context(), `SHOW lock_timeout`).Scan(&timeout))
	if timeout != "12345ms" {
		t.Errorf("lock_timeout is %s after the commit", timeout)
	}
	s.finish()
	s.numbered("a1 b1 c1 a2 b2 c2 new1")
}
