package aggregate_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/eventlog"
)

// kept returns what the snapshot of a stream says, nil where there is none.
func kept(t *testing.T, m *aggregate.Module, stream string) map[string]any {
	t.Helper()
	for entry, err := range m.Log.Entries(t.Context(), eventlog.EntryQuery{Kind: eventlog.Snapshot, Keys: []string{stream}}) {
		must(t, err)
		var v map[string]any
		must(t, json.Unmarshal(entry.Value, &v))
		return v
	}
	return nil
}

// counting returns an account type of the given policy, and how many events it has folded.
func counting(every, format int) (aggregate.Type[Account, AccountEvent], *int) {
	folded := new(int)
	return aggregate.Define("account", func(a Account, e AccountEvent) Account {
		*folded++
		return evolve(a, e)
	}, aggregate.SnapshotEvery(every, format)), folded
}

func fresh[S, E any](t *testing.T, m *aggregate.Module, typ aggregate.Type[S, E], id string) S {
	t.Helper()
	s, err := aggregate.Load(t.Context(), aggregate.NewWork(m, aggregate.Cause{}), typ, id)
	must(t, err)
	return s
}

func TestASnapshotIsWrittenWithTheAppendThatMakesItDue(t *testing.T) {
	m := bank(t)
	log := &counted{Log: m.Log}
	m.Log = log
	typ, folded := counting(3, 1)
	for i := 1; i <= 7; i++ {
		must(t, aggregate.Execute(t.Context(), m, typ, "1", deposit(1)))
		want := i / 3 * 3
		if got := kept(t, m, "account/1"); want == 0 && got != nil || want > 0 && got["version"] != float64(want) {
			t.Errorf("after %d events the snapshot is %v", i, got)
		}
	}
	if n := log.appends.Load(); n != 7 {
		t.Errorf("7 changes took %d appends", n)
	}
	*folded = 0
	if a := fresh(t, m, typ, "1"); a.Balance != 7 || *folded != 1 {
		t.Errorf("%+v after folding %d events", a, *folded)
	}
	// Several events that jump over the due version.
	must(t, aggregate.Execute(t.Context(), m, typ, "1", func(Account) ([]AccountEvent, error) {
		return []AccountEvent{Deposited{1}, Deposited{1}, Deposited{1}, Deposited{1}}, nil
	}))
	if got := kept(t, m, "account/1"); got["version"] != 11.0 {
		t.Errorf("snapshot %v", got)
	}
}

func TestASnapshotThatCannotBeTrustedIsIgnored(t *testing.T) {
	for name, damage := range map[string]func(v map[string]any) any{
		"another format":       func(v map[string]any) any { v["format"] = 2; return v },
		"not JSON":             func(map[string]any) any { return nil },
		"of another shape":     func(v map[string]any) any { v["state"] = []int{1}; return v },
		"beyond the stream":    func(v map[string]any) any { v["version"] = 99; v["state"] = Account{Balance: 1000}; return v },
		"of another event":     func(v map[string]any) any { v["event"] = "018f0000-0000-7000-8000-000000000000"; return v },
		"of version 0":         func(v map[string]any) any { v["version"] = 0; v["state"] = Account{Balance: 1000}; return v },
		"of an earlier event ": func(v map[string]any) any { v["version"] = 2; v["state"] = Account{Balance: 1000}; return v },
	} {
		t.Run(name, func(t *testing.T) {
			m := bank(t)
			typ, folded := counting(3, 1)
			for range 4 {
				must(t, aggregate.Execute(t.Context(), m, typ, "1", deposit(1)))
			}
			value := []byte(`{"format":1,"ver`)
			if v := damage(kept(t, m, "account/1")); v != nil {
				value, _ = json.Marshal(v)
			}
			_, err := m.Log.Append(t.Context(), eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Snapshot, Key: "account/1", Value: value}})
			must(t, err)
			*folded = 0
			if a := fresh(t, m, typ, "1"); a.Balance != 4 || *folded != 4 {
				t.Errorf("%+v after folding %d events", a, *folded)
			}
			must(t, aggregate.Execute(t.Context(), m, typ, "1", withdraw(4))) // the version is right too
			if got := kept(t, m, "account/1"); got["version"] != 5.0 || got["format"] != 1.0 {
				t.Errorf("the bad snapshot was not replaced: %v", got)
			}
		})
	}
}

func TestASnapshotStandsForTheVersionsThatWereTruncated(t *testing.T) {
	for name, to := range map[string]eventlog.Version{"below the snapshot": 2, "to the snapshot": 3} {
		for after := range 2 {
			t.Run(name, func(t *testing.T) {
				m := bank(t)
				typ, _ := counting(3, 1)
				for range 3 + after {
					must(t, aggregate.Execute(t.Context(), m, typ, "1", deposit(1)))
				}
				must(t, m.Log.(eventlog.StreamKeeper).TruncateStream(t.Context(), "account/1", to))
				if a := fresh(t, m, typ, "1"); a.Balance != 3+after {
					t.Errorf("%+v", a)
				}
				must(t, aggregate.Execute(t.Context(), m, typ, "1", withdraw(3+after)))
			})
		}
	}
}

func TestAnUnusableSnapshotOfATruncatedStreamIsAnError(t *testing.T) {
	m := bank(t)
	typ, _ := counting(3, 1)
	for range 5 {
		must(t, aggregate.Execute(t.Context(), m, typ, "1", deposit(1)))
	}
	must(t, m.Log.(eventlog.StreamKeeper).TruncateStream(t.Context(), "account/1", 4)) // further than the snapshot
	next, _ := counting(3, 2)
	for _, typ := range []aggregate.Type[Account, AccountEvent]{typ, next} {
		var truncated *aggregate.TruncatedError
		if a, err := aggregate.Load(t.Context(), aggregate.NewWork(m, aggregate.Cause{}), typ, "1"); !errors.As(err, &truncated) || truncated.First != 5 {
			t.Errorf("%+v, %v", a, err)
		}
	}
}

func TestAStateTooLargeForASnapshotIsFolded(t *testing.T) {
	m := bank(t)
	typ := aggregate.Define("account", func(s string, e AccountEvent) string {
		if _, grown := e.(Renamed); grown {
			return strings.Repeat("x", eventlog.MaxEntryValue)
		}
		return s + "."
	}, aggregate.SnapshotEvery(1, 1))
	for _, e := range []AccountEvent{Deposited{}, Renamed{}, Deposited{}} {
		must(t, aggregate.Execute(t.Context(), m, typ, "1", func(string) ([]AccountEvent, error) { return []AccountEvent{e}, nil }))
	}
	if s := fresh(t, m, typ, "1"); len(s) != eventlog.MaxEntryValue+1 || kept(t, m, "account/1")["version"] != 1.0 {
		t.Errorf("%d bytes, snapshot at %v", len(s), kept(t, m, "account/1")["version"])
	}
}

// Whatever the policy, and however it changes, an aggregate's state is what its events fold to.
func TestSnapshotsNeverChangeAState(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 1))
		m := bank(t)
		typ := accounts
		for range 40 {
			if random.IntN(5) == 0 { // another release of the program
				typ = accounts
				if random.IntN(4) > 0 {
					typ, _ = counting(1+random.IntN(6), 1+random.IntN(2))
				}
			}
			w := aggregate.NewWork(m, aggregate.Cause{})
			for range 1 + random.IntN(3) {
				events := make([]AccountEvent, random.IntN(4))
				for i := range events {
					events[i] = Deposited{random.IntN(100)}
					if random.IntN(3) == 0 {
						events[i] = Renamed{string(rune('a' + random.IntN(26)))}
					}
				}
				must(t, aggregate.Change(t.Context(), w, typ, string(rune('1'+random.IntN(2))), func(Account) ([]AccountEvent, error) { return events, nil }))
			}
			_, err := w.Commit(t.Context())
			must(t, err)
			for _, id := range []string{"1", "2"} {
				if with, without := fresh(t, m, typ, id), load(t, m, id); !reflect.DeepEqual(with, without) {
					t.Fatalf("seed %d: with snapshots %+v, without %+v", seed, with, without)
				}
			}
		}
	}
}
