package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// gate holds commits until the test lets them go.
type gate struct {
	reached chan struct{} // a commit is about to happen
	proceed chan error    // nil: commit; otherwise what COMMIT is to fail with
	over    chan struct{} // closed: commits just happen
	open    func()        // closes it
}

func newGate() *gate {
	g := &gate{reached: make(chan struct{}), proceed: make(chan error), over: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.over) })
	return g
}

func (g *gate) commit(commit func() error) error {
	select {
	case g.reached <- struct{}{}:
	case <-g.over:
		return commit()
	}
	select {
	case err := <-g.proceed:
		if err != nil {
			return err
		}
	case <-g.over:
	}
	return commit()
}

// heldLog is a log whose commits wait for the gate, from now on.
func heldLog(t *testing.T, o Options) (*Log, *gate) {
	t.Helper()
	g := newGate()
	held := make(chan struct{})
	o.hooks.commit = func(commit func() error) error {
		select {
		case <-held:
			return g.commit(commit)
		default:
			return commit()
		}
	}
	l := newLog(t, o)
	mustAppend(t, l, to("s", eventlog.NoStream, fact("1")))
	close(held)
	t.Cleanup(g.open)
	return l, g
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// next waits until a commit is about to happen.
func (g *gate) next(t *testing.T) {
	t.Helper()
	select {
	case <-g.reached:
	case <-time.After(patience):
		t.Fatal("nothing is about to be committed")
	}
}

type answerOf struct {
	name string
	done eventlog.Appended
	err  error
}

// start appends on a goroutine of its own.
func start(ctx context.Context, l *Log, answers chan<- answerOf, name string, w ...eventlog.Write) {
	go func() {
		done, err := l.Append(ctx, w...)
		answers <- answerOf{name, done, err}
	}()
}

// awaitAnswer waits for an answer.
func awaitAnswer(t *testing.T, answers <-chan answerOf) answerOf {
	t.Helper()
	select {
	case a := <-answers:
		return a
	case <-time.After(patience):
		t.Fatal("no answer; is there a commit that waits at the gate?")
		panic("unreachable")
	}
}

// startInLine starts appends, named for their numbers, each when the one before waits for the writer.
func startInLine(t *testing.T, l *Log, answers chan<- answerOf, appends ...[]eventlog.Write) {
	t.Helper()
	for i, w := range appends {
		start(t.Context(), l, answers, fmt.Sprint(i), w...)
		queue(t, l, i+1)
	}
}

// together has appends share a transaction, behind one that holds the writer and appends "x" meanwhile. It returns what
// each was answered.
func together(t *testing.T, l *Log, g *gate, appends ...[]eventlog.Write) []answerOf {
	t.Helper()
	answers := make(chan answerOf, 1+len(appends))
	start(t.Context(), l, answers, "holds the writer", to("other", eventlog.Any, fact("x")))
	g.next(t)
	startInLine(t, l, answers, appends...)
	g.proceed <- nil
	if a := awaitAnswer(t, answers); a.name != "holds the writer" || a.err != nil {
		t.Fatalf("the first answer is that of %q: %v", a.name, a.err)
	}
	select {
	case <-g.reached:
		g.proceed <- nil
	case a := <-answers:
		t.Fatalf("append %s was answered before the commit: %v", a.name, a.err)
	case <-time.After(patience):
		t.Fatal("they are neither committed nor answered")
	}
	all := make([]answerOf, len(appends))
	for range all {
		a := awaitAnswer(t, answers)
		i, err := strconv.Atoi(a.name)
		if err != nil {
			t.Fatal(err)
		}
		all[i] = a
	}
	return all
}

// queue waits until n requests wait for the writer, in that order.
func queue(t *testing.T, l *Log, n int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); l.file.writer.waiting() < n; {
		if time.Now().After(deadline) {
			t.Fatalf("%d requests wait, not %d", l.file.writer.waiting(), n)
		}
		runtime.Gosched()
	}
}

// TestAnswersWaitForCommit: nobody is told anything before COMMIT returned, neither success, nor a conflict (which may
// be with a neighbour in the same transaction), nor that it is a repeat; and no reader sees anything.
func TestAnswersWaitForCommit(t *testing.T) {
	l, g := heldLog(t, Options{})
	answers := make(chan answerOf, 5)
	e := fact("2")
	start(t.Context(), l, answers, "holds the writer", to("other", eventlog.NoStream, fact("x")))
	<-g.reached
	for i, w := range []eventlog.Write{to("s", eventlog.Exactly(1), e), to("s", eventlog.Exactly(1), fact("no")), to("s", eventlog.Exactly(1), e)} {
		start(t.Context(), l, answers, []string{"success", "conflict", "repeat"}[i], w)
		queue(t, l, i+1)
	}
	g.proceed <- nil
	if a := <-answers; a.name != "holds the writer" || a.err != nil {
		t.Fatalf("%+v", a)
	}
	<-g.reached // the transaction of the three is applied and waits to be committed
	if got := payloads(t, l); !slices.Equal(got, []string{"1", "x"}) {
		t.Errorf("before the commit, readers see %q", got)
	}
	select {
	case a := <-answers:
		t.Fatalf("answered before the commit: %+v", a)
	case <-time.After(20 * time.Millisecond):
	}
	g.proceed <- nil
	for range 3 {
		switch a := <-answers; {
		case a.name == "conflict" && !errors.Is(a.err, eventlog.ErrConflict), a.name != "conflict" && a.err != nil, a.done.Repeat != (a.name == "repeat"):
			t.Errorf("%+v", a)
		}
	}
	if n := l.file.Stats().Commits; n != 4 { // the log itself, "1", "x", and the three
		t.Errorf("%d commits", n)
	}
}

// TestG4_AStreamThatWasTakenForNew: a stream that an append expects to be new is not looked for. If somebody else has made
// it, that append is refused, or recognised as a repeat, and its neighbours in the transaction are none the worse.
func TestG4_AStreamThatWasTakenForNew(t *testing.T) {
	l, g := heldLog(t, Options{})
	theirs := openLog(t, openFile(t, l.file.path, Options{}), l.module)
	for round, name := range []string{"theirs/1", "theirs/2"} { // the second one while nothing is assumed
		e := fact("theirs")
		e.ID = event.NewID()
		mustAppend(t, theirs, to(name, eventlog.NoStream, e))
		for i, a := range together(t, l, g, [][]eventlog.Write{
			{to(fmt.Sprint("a/", round), eventlog.NoStream, fact("a"))},
			{eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Receipt, Key: fmt.Sprint("no/", round)}}, to(name, eventlog.NoStream, fact("no"))},
			{to(name, eventlog.NoStream, e)},
			{eventlog.LinkTo{Stream: name, Expect: eventlog.NoStream, Positions: []eventlog.Position{1}}},
			{to(fmt.Sprint("b/", round), eventlog.NoStream, fact("b"))},
		}...) {
			var conflict *eventlog.ConflictError
			switch i {
			case 1, 3:
				if !errors.As(a.err, &conflict) || conflict.Stream != name || conflict.Actual != 1 {
					t.Errorf("%+v", a)
				}
			default:
				if a.err != nil || a.done.Repeat != (i == 2) || a.done.Results[0].First != 1 {
					t.Errorf("%+v", a)
				}
			}
		}
	}
	want := []string{"1", "theirs", "x", "a", "b", "theirs", "x", "a", "b"}
	if got := payloads(t, l); !slices.Equal(got, want) {
		t.Errorf("the log holds %q", got)
	}
	for e, err := range l.Entries(t.Context(), eventlog.EntryQuery{Kind: eventlog.Receipt}) {
		t.Errorf("entry %s of an append that was refused (%v)", e.Key, err)
	}
	g.open()
	sound(t, l.file)
}

// TestFailedCommitIsAnsweredToAll: when COMMIT fails nobody is told success, and nobody a conflict with what then never
// existed.
func TestFailedCommitIsAnsweredToAll(t *testing.T) {
	l, g := heldLog(t, Options{})
	answers := make(chan answerOf, 5)
	start(t.Context(), l, answers, "holds the writer", to("other", eventlog.NoStream, fact("x")))
	<-g.reached
	e := fact("2")
	startInLine(t, l, answers, []eventlog.Write{to("s", eventlog.Exactly(1), e)}, []eventlog.Write{to("s", eventlog.Exactly(1), fact("no"))},
		[]eventlog.Write{to("s", eventlog.Exactly(1), e)})
	g.proceed <- nil
	<-answers
	<-g.reached
	failed := errors.New("no commit")
	g.proceed <- failed
	for range 3 {
		if a := <-answers; !errors.Is(a.err, failed) || errors.Is(a.err, eventlog.ErrConflict) || len(a.done.Results) > 0 {
			t.Errorf("%+v", a)
		}
	}
	if got := payloads(t, l); !slices.Equal(got, []string{"1", "x"}) {
		t.Errorf("the log holds %q", got)
	}
	// What the writer knew of the failed transaction is forgotten: the version is as it was, and no position is lost.
	start(t.Context(), l, answers, "again", to("s", eventlog.Exactly(1), e))
	<-g.reached
	g.proceed <- nil
	if a := <-answers; a.err != nil || a.done.Repeat || a.done.Results[0] != (eventlog.Result{First: 2, Last: 2, Position: 3}) {
		t.Errorf("%+v", a)
	}
	sound(t, l.file)
}

// TestFailedSyncIsFinal: after an error of the medium nobody knows what it holds, so nothing is written any more.
func TestFailedSyncIsFinal(t *testing.T) {
	l, g := heldLog(t, Options{})
	answers := make(chan answerOf, 2)
	start(t.Context(), l, answers, "", to("s", eventlog.Any, fact("2")))
	<-g.reached
	g.proceed <- ioError(t)
	if a := <-answers; a.err == nil {
		t.Fatal("the append succeeded")
	}
	g.open() // from now on the medium would do
	for range 3 {
		_, err := l.Append(context.Background(), to("s", eventlog.Any, fact("3")))
		if err == nil || !strings.Contains(err.Error(), "open the file again") {
			t.Errorf("error %v", err)
		}
	}
	if got := payloads(t, l); !slices.Equal(got, []string{"1"}) {
		t.Errorf("the log holds %q", got)
	}
	closeFile(t, l.file)
	l = openLog(t, openFile(t, l.file.path, Options{}), "orders")
	fill(t, l, "s", 1)
}

// ioError returns an error as SQLite reports one of the medium, here of a folder that is opened as a file.
func ioError(t *testing.T) error {
	t.Helper()
	c, err := connect(context.Background(), dsn(t.TempDir(), "mode=ro"))
	if err == nil {
		_, err = one(c, `SELECT count(*) FROM sqlite_schema`)
		_ = c.close()
	}
	if _, primary := code(err); primary != codeIO {
		t.Fatalf("not an error of the medium: %v", err)
	}
	return err
}

// TestFewerCommitsThanAppends: concurrent appends share a commit.
func TestFewerCommitsThanAppends(t *testing.T) {
	l := newLog(t, Options{})
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for k := range 20 {
				if _, err := l.Append(context.Background(), to(fmt.Sprintf("s/%d", i), eventlog.Any, fact(fmt.Sprint(k)))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	s := l.file.Stats()
	t.Logf("%+v", s)
	if s.Writes < 64*20 || s.Commits > s.Writes/2 {
		t.Errorf("%d commits for %d writes", s.Commits, s.Writes)
	}
	sound(t, l.file)
}

// TestConflictFailsAlone: in one transaction, a request that fails after it has written takes nothing else with it.
func TestConflictFailsAlone(t *testing.T) {
	l, g := heldLog(t, Options{})
	put := func(key string, expect eventlog.Revision) eventlog.Put {
		return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Claim, Key: key}, Expect: expect}
	}
	link := eventlog.LinkTo{Stream: "view", Positions: []eventlog.Position{1}}
	typed := fact("b3")
	typed.Type = "of a type that is new"
	for i, a := range together(t, l, g, [][]eventlog.Write{
		{to("a", eventlog.NoStream, fact("bad")), put("k", 99)},                 // fails first of all, after writing
		{to("a", eventlog.NoStream, fact("a1")), put("k", eventlog.NoEntry)},    // good
		{to("new", eventlog.NoStream, typed), link, put("k", eventlog.NoEntry)}, // fails: the entry is there now
		{to("b", eventlog.NoStream, typed), link, put("l", eventlog.NoEntry)},   // good
		{to("c", eventlog.Any, fact("bad")), eventlog.LinkTo{Stream: "v", Positions: []eventlog.Position{99}}},
		{to("a", eventlog.Exactly(1), fact("a2")), put("k", eventlog.AnyRevision)}, // good
		{to("a", eventlog.Exactly(1), fact("bad"))},                                // fails
	}...) {
		if good := i == 1 || i == 3 || i == 5; good != (a.err == nil) {
			t.Errorf("%d: %v", i, a.err)
		}
	}
	if got := payloads(t, l); !slices.Equal(got, []string{"1", "x", "a1", "b3", "a2"}) {
		t.Errorf("the log holds %q", got)
	}
	if s := l.file.Stats(); s.Commits != 4 || s.Conflicts != 3 {
		t.Errorf("%+v", s)
	}
	for _, name := range []string{"new", "c", "v"} {
		if info, err := l.Stream(context.Background(), name); info.Version != 0 || err != nil {
			t.Errorf("stream %s: %+v, %v", name, info, err)
		}
	}
	sound(t, l.file)
}

// TestCancelledInTheQueueIsNotExecuted, while what is being executed waits for its outcome.
func TestCancelledInTheQueueIsNotExecuted(t *testing.T) {
	l, g := heldLog(t, Options{})
	answers := make(chan answerOf, 3)
	ctx, cancel := context.WithCancel(t.Context())
	start(ctx, l, answers, "executed", to("s", eventlog.Any, fact("2")))
	<-g.reached
	start(ctx, l, answers, "queued", to("s", eventlog.Any, fact("3")))
	queue(t, l, 1)
	cancel()
	if a := <-answers; a.name != "queued" || !errors.Is(a.err, context.Canceled) {
		t.Errorf("%+v", a)
	}
	g.proceed <- nil
	if a := <-answers; a.name != "executed" || a.err != nil {
		t.Errorf("%+v", a)
	}
	start(t.Context(), l, answers, "later", to("s", eventlog.Exactly(2), fact("4")))
	<-g.reached
	g.proceed <- nil
	if a := <-answers; a.err != nil {
		t.Errorf("%+v", a)
	}
	if got := payloads(t, l); !slices.Equal(got, []string{"1", "2", "4"}) {
		t.Errorf("the log holds %q", got)
	}
}

// TestCloseAnswersEverybody: what is being executed is finished, what waits is refused and not written.
func TestCloseAnswersEverybody(t *testing.T) {
	l, g := heldLog(t, Options{})
	answers := make(chan answerOf, 3)
	start(t.Context(), l, answers, "executed", to("s", eventlog.Any, fact("2")))
	<-g.reached
	start(t.Context(), l, answers, "queued", to("s", eventlog.Any, fact("3")))
	queue(t, l, 1)
	closed := make(chan error)
	go func() { closed <- l.file.Close() }()
	for closing := false; !closing; { // it is on its way
		l.file.writer.mu.Lock()
		closing = l.file.writer.closed
		l.file.writer.mu.Unlock()
		runtime.Gosched()
	}
	g.proceed <- nil
	for range 2 {
		if a := <-answers; (a.name == "executed") != (a.err == nil) || a.err != nil && !errors.Is(a.err, eventlog.ErrClosed) {
			t.Errorf("%+v", a)
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	l = openLog(t, openFile(t, l.file.path, Options{}), "orders")
	if got := payloads(t, l); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("the log holds %q", got)
	}
}

// TestFullMediumLosesNothing: a real SQLITE_FULL, at every size at which it can come.
func TestFullMediumLosesNothing(t *testing.T) {
	l := newLog(t, Options{})
	fill(t, l, "s", 3)
	limit := func(pages int64) {
		onWriter(t, l.file, func(c *conn) error {
			have, err := one(c, `PRAGMA page_count`)
			if err == nil {
				_, err = one(c, fmt.Sprintf(`PRAGMA max_page_count = %d`, have+pages))
			}
			return err
		})
	}
	want := []string{"1", "2", "3"}
	big := strings.Repeat("x", 10_000)
	for pages := range int64(4) {
		limit(pages)
		refused := false
		for n := 0; n < 100 && !refused; n++ {
			_, err := l.Append(context.Background(), to("s", eventlog.Any, fact("small")), to("t", eventlog.Any, fact(big)))
			switch {
			case err == nil:
				want = append(want, "small", big)
			case errors.Is(err, eventlog.ErrFull):
				refused = true
			default:
				t.Fatalf("append: %v", err)
			}
		}
		if !refused {
			t.Fatal("the medium never was full")
		}
		if got := payloads(t, l); !slices.Equal(got, want) {
			t.Fatalf("the log holds %d events, want %d", len(got), len(want))
		}
		limit(1 << 20)
		mustAppend(t, l, to("s", eventlog.Any, fact("room again")))
		want = append(want, "room again")
	}
	sound(t, l.file)
}

// TestFullMediumFailsTheCulprit: the request for which there is no room fails, not its small neighbours.
func TestFullMediumFailsTheCulprit(t *testing.T) {
	l, g := heldLog(t, Options{})
	answers := make(chan answerOf, 5)
	onWriter(t, l.file, func(c *conn) error {
		have, err := one(c, `PRAGMA page_count`)
		if err == nil {
			_, err = one(c, fmt.Sprintf(`PRAGMA max_page_count = %d`, have+5))
		}
		return err
	})
	start(t.Context(), l, answers, "first", to("s", eventlog.Any, fact("2")))
	<-g.reached
	const large = "1"
	startInLine(t, l, answers, []eventlog.Write{to("s", eventlog.Any, fact("3"))}, []eventlog.Write{to("s", eventlog.Any, fact(strings.Repeat("x", 100_000)))},
		[]eventlog.Write{to("s", eventlog.Any, fact("4"))})
	g.proceed <- nil
	g.open()
	for range 4 {
		if a := <-answers; (a.name == large) != errors.Is(a.err, eventlog.ErrFull) || a.name != large && a.err != nil {
			t.Errorf("%s: %v", a.name, a.err)
		}
	}
	if got := payloads(t, l); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Errorf("the log holds %d events", len(got))
	}
}

// TestBusyFileIsSaidToBe: another connection holds the file longer than a writer waits.
func TestBusyFileIsSaidToBe(t *testing.T) {
	l := newLog(t, Options{BusyTimeout: 20 * time.Millisecond})
	fill(t, l, "s", 1)
	other, err := connect(context.Background(), dsn(l.file.path, "mode=rw"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	if _, err := other.exec(`BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(context.Background(), to("s", eventlog.Any, fact("2"))); !errors.Is(err, eventlog.ErrBusy) {
		t.Errorf("append: %v", err)
	}
	if got := payloads(t, l); len(got) != 1 { // readers don't wait
		t.Errorf("the log holds %q", got)
	}
	if _, err := other.exec(`ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	fill(t, l, "s", 1)
}

// TestRecordedNeverDecreases, although the clock does.
func TestRecordedNeverDecreases(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	f := newFile(t, Options{Now: func() time.Time { return at }})
	l := openLog(t, f, "orders")
	fill(t, l, "s", 1)
	at = at.Add(-time.Hour)
	fill(t, l, "s", 1)
	closeFile(t, f)
	l = openLog(t, openFile(t, f.path, Options{Now: func() time.Time { return at }}), "orders")
	fill(t, l, "s", 1)
	for r, err := range l.Read(context.Background(), eventlog.Query{}) {
		if want := at.Add(time.Hour).Truncate(time.Microsecond); err != nil || !r.Recorded.Equal(want) || r.Recorded.Location() != time.UTC {
			t.Errorf("position %d was recorded at %v, %v", r.Position, r.Recorded, err)
		}
	}
}

// TestStreamsBeyondTheCache: what is known of streams is forgotten and asked for again, within a transaction of many and
// from one to the next.
func TestStreamsBeyondTheCache(t *testing.T) {
	l := newLog(t, Options{hooks: hooks{most: 10}})
	for round := range 3 {
		for from := 0; from < 100; from += 25 {
			var writes []eventlog.Write
			for i := range 25 {
				writes = append(writes, to(fmt.Sprintf("s/%d", from+i), eventlog.Exactly(eventlog.Version(round)), event.Event{Type: "fact"}))
			}
			mustAppend(t, l, writes...)
			if n := len(l.file.writer.state.streams); n > 10+25 {
				t.Fatalf("%d streams are cached", n)
			}
		}
	}
	if _, err := l.Append(context.Background(), to("s/1", eventlog.Exactly(1), fact(""))); !errors.Is(err, eventlog.ErrConflict) {
		t.Errorf("append: %v", err)
	}
	sound(t, l.file)
}
