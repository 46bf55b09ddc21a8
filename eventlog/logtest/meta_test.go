package logtest_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/logtest"
	"github.com/ensue-io/ensue/eventlog/memlog"
)

const (
	prefix      = "concurrent/readers see a prefix of the final order at every moment, and streams without holes"
	oneVersion  = "concurrent/of many that expect the same version exactly one appends"
	wholeOrNone = "concurrent/an append to several streams is there wholly or not at all, and no one sees what is not"
	sameAppend  = "concurrent/the same append by many is there once"
	sameLink    = "concurrent/links to the same event by many are one"
	waiting     = "concurrent/waiting misses no event"
	seen        = "wait/what the log has seen can be read, and is as far as was waited for"
	oneEntry    = "concurrent/of many that put what is not there exactly one does"
	count       = "concurrent/a count kept under expected revisions misses none"
	together    = "concurrent/who sees an event sees the entries of its append"
	waitEnds    = "close/ends a wait"
	underLoad   = "reopen/while many append, what was acknowledged is there"
	manyTx      = "transaction/many, among appends"
)

// bugs are mistakes of stores, with cases that find them and what those say.
var bugs = []struct {
	bug   string
	store logtest.Store
	found map[string]string // case: part of what it says
}{
	{"reads by a number that is drawn before the commit", with(func(l *memlog.Log) eventlog.Log { return &numbersFirst{hiding: hiding{Log: l}} }),
		map[string]string{prefix: "a reader "}},
	{"answers an append before it can be read", with(func(l *memlog.Log) eventlog.Log { return &answersEarly{hiding: hiding{Log: l}} }),
		map[string]string{prefix: "was told", "append/is visible to every read when it returns": "was found 0 times"}},
	{"shows events before it is known whether they are taken", with(func(l *memlog.Log) eventlog.Log { return &showsEarly{Log: l} }),
		map[string]string{wholeOrNone: "seen at position"}},
	{"swallows conflicts of streams", with(func(l *memlog.Log) eventlog.Log { return expectsNothing{l} }),
		map[string]string{oneVersion: "the number of events is", "expect/is met or refused on a stream that exists": "returned error <nil>"}},
	{"swallows conflicts of entries", with(func(l *memlog.Log) eventlog.Log { return putsAnyway{l} }),
		map[string]string{oneEntry: "the revision of writer", count: "the count is", "entry/expected revisions are met or refused": "returned error <nil>"}},
	{"applies half a batch", with(func(l *memlog.Log) eventlog.Log { return oneByOne{l} }),
		map[string]string{wholeOrNone: "how many of the 4 events", "expect/a conflict in any write leaves nothing of the others": "the log after a refused append"}},
	{"loses the last event when it is opened again", logtest.Store{Open: durable().Open, Reopen: reopenWithoutLast},
		map[string]string{underLoad: "acknowledged appends", "reopen/everything that was acknowledged is there, and its id": "the log is"}},
	{"counts revisions on from the highest that is left when it is opened again", logtest.Store{Open: durable().Open, Reopen: reopenWithLess},
		map[string]string{"reopen/revisions keep growing, also when the highest was deleted": "was followed by"}},
	{"hands out versions with a hole", with(func(l *memlog.Log) eventlog.Log { return skipsVersion{l} }),
		map[string]string{prefix: "version"}},
	{"takes a repeat as new", with(func(l *memlog.Log) eventlog.Log { return &forgetsIDs{Log: l} }),
		map[string]string{sameAppend: "expected no stream", "repeat/succeeds under every expected version, with the first results": "not said to be a repeat"}},
	{"applies the entries of a repeat again", with(func(l *memlog.Log) eventlog.Log { return entriesAgain{l} }),
		map[string]string{"repeat/does not apply entries again, whatever their expected revisions": "the log after the repeat"}},
	{"holds a lock while a loop's body runs", impatient(func(l *memlog.Log) eventlog.Log { return locksLoop{l, &sync.RWMutex{}} }),
		map[string]string{"sequence/Read lets its body append, read and range over itself, and ends": "does not come to an end"}},
	{"commits entries after the events", with(func(l *memlog.Log) eventlog.Log { return &entriesLater{Log: l} }),
		map[string]string{together: "as the entries", "entry/expected revisions are met or refused": "the log after a refused append"}},
	{"uses revisions again", with(func(l *memlog.Log) eventlog.Log { return &countsPerKey{Log: l} }),
		map[string]string{"entry/deleted and put anew never has an old revision": "got revision 1"}},
	{"waits for the next append without looking whether it was there", impatient(func(l *memlog.Log) eventlog.Log { return &missesMoves{Log: l} }),
		map[string]string{waiting: "waiting behind event"}},
	{"has not seen what was waited for", with(func(l *memlog.Log) eventlog.Log { return sees{l, -1} }),
		map[string]string{seen: "seen up to 0"}},
	{"has seen what is not there", with(func(l *memlog.Log) eventlog.Log { return sees{l, 1} }),
		map[string]string{seen: "seen up to 2"}},
	{"links what is linked again", with(func(l *memlog.Log) eventlog.Log { return linksAgain{l} }),
		map[string]string{sameLink: "the result of one of them", "link/again returns the first link, whatever it expects": ""}},
	{"keeps its caller's memory", with(func(l *memlog.Log) eventlog.Log { return sharesMemory{l, map[event.ID][]byte{}} }),
		map[string]string{"append/keeps nothing of what it was given": "later"}},
	{"pages by due time without the key", with(func(l *memlog.Log) eventlog.Log { return pagesByDue{l} }),
		map[string]string{"due/page after page returns each once": "the pages", "due/after a due time and key, through equal due times": "after"}},
	{"takes what is truncated out of the log", with(func(l *memlog.Log) eventlog.Log { return truncatesLog{l} }),
		map[string]string{"truncate stream/leaves the log as it was, by position and by id": "the log is"}},
	{"leaves those waiting who wait when it is closed", impatient(func(l *memlog.Log) eventlog.Log { return &leavesWaiting{Log: l} }),
		map[string]string{waitEnds: "returned context deadline exceeded when the log was closed"}},
	{"answers a transaction that it did not commit", with(func(l *memlog.Log) eventlog.Log { return losesTransactions{l, &atomic.Int64{}} }),
		map[string]string{manyTx: "expected version"}},
}

// with makes logs in memory with a mistake.
func with(mistake func(*memlog.Log) eventlog.Log) logtest.Store {
	return logtest.Store{Open: func(_ logtest.T, now func() time.Time) eventlog.Log { return mistake(memlog.Options{Now: now}.New()) }}
}

// impatient is with for a mistake that shows when something never happens.
func impatient(mistake func(*memlog.Log) eventlog.Log) logtest.Store {
	s := with(mistake)
	s.Patience = time.Second
	return s
}

func TestEveryMistakeIsFound(t *testing.T) {
	cases := map[string]logtest.Case{}
	unproven := map[string]bool{} // concurrent cases
	for _, c := range logtest.Cases() {
		cases[c.Name] = c
		unproven[c.Name] = c.Concurrent
	}
	for _, b := range bugs {
		for name, says := range b.found {
			c, ok := cases[name]
			if !ok {
				t.Fatalf("there is no case %q", name)
			}
			delete(unproven, name)
			t.Run(b.bug+"/"+name, func(t *testing.T) {
				t.Parallel()
				failed, _ := try(t, c, b.store)
				if failed == "" {
					t.Fatal("the case does not find it")
				}
				if !strings.Contains(failed, says) {
					t.Errorf("the case fails, not with %q but with\n%s", says, failed)
				}
			})
		}
	}
	for name, concurrent := range unproven {
		if concurrent {
			t.Errorf("%q finds none of the mistakes", name)
		}
	}
}

// A store that is opened again as it was passes, so that what is found above is the mistake and not the store.
func TestADurableLogPasses(t *testing.T) { logtest.Run(t, durable()) }
