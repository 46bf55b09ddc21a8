package logtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// sequence is one of the reads of a log, for what is the same for all of them.
type sequence struct {
	name  string
	needs capability
	write func(i int) eventlog.Write // what adds an element to it
	of    func(ctx context.Context, log eventlog.Log) iter.Seq2[any, error]
}

var sequences = []sequence{
	{"Read", "", oneMoreEvent, func(ctx context.Context, log eventlog.Log) iter.Seq2[any, error] {
		return anything(log.Read(ctx, eventlog.Query{}))
	}},
	{"ReadStream", "", oneMoreEvent, func(ctx context.Context, log eventlog.Log) iter.Seq2[any, error] {
		return anything(log.ReadStream(ctx, "s", eventlog.StreamQuery{}))
	}},
	{"ReadStream backwards", "", oneMoreEvent, func(ctx context.Context, log eventlog.Log) iter.Seq2[any, error] {
		return anything(log.ReadStream(ctx, "s", eventlog.StreamQuery{Backward: true}))
	}},
	{"ReadStreams", gathers, oneMoreEvent, func(ctx context.Context, log eventlog.Log) iter.Seq2[any, error] {
		return anything(log.(eventlog.StreamsReader).ReadStreams(ctx, []string{"none", "s"}))
	}},
	{"Entries", "", oneMoreEntry, func(ctx context.Context, log eventlog.Log) iter.Seq2[any, error] {
		return anything(log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Timeout}))
	}},
	{"Entries by due", "", oneMoreEntry, func(ctx context.Context, log eventlog.Log) iter.Seq2[any, error] {
		return anything(log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Timeout, ByDue: true}))
	}},
	{"Streams", lists, oneMoreStream, func(ctx context.Context, log eventlog.Log) iter.Seq2[any, error] {
		return anything(log.(eventlog.StreamLister).Streams(ctx, "", "", 0))
	}},
}

func oneMoreEvent(i int) eventlog.Write { return to("s", eventlog.Any, fact(fmt.Sprint(i))) }

func oneMoreEntry(i int) eventlog.Write {
	return putDue(fmt.Sprintf("%04d", i), day.AddDate(0, 0, i%100))
}

func oneMoreStream(i int) eventlog.Write {
	return to(fmt.Sprintf("t/%04d", i), eventlog.Any, fact(fmt.Sprint(i)))
}

func anything[E any](s iter.Seq2[E, error]) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		for e, err := range s {
			if !yield(e, err) {
				return
			}
		}
	}
}

// arranged is how many elements a sequence has after arrange: more than a page.
const arranged = 600

func (t *trial) arrange(s sequence) {
	t.Helper()
	writes := make([]eventlog.Write, arranged)
	for i := range writes {
		writes[i] = s.write(i)
	}
	t.append(writes...)
}

// sequenceCases asks of every sequence what package eventlog says of all of them.
func sequenceCases() []Case {
	var cases []Case
	for _, s := range sequences {
		for _, c := range []struct {
			behaviour string
			run       func(*trial, sequence)
		}{
			{"can be ranged over again, and reads anew", rangesAgain},
			{"lets its body append, read and range over itself, and ends", bodyUsesLog},
			{"releases everything on break", breaks},
			{"yields the error of a cancelled context once, last, with a zero element", cancelled},
			{"ends with the error of a context that is cancelled in its body, before the next element", cancelledInside},
		} {
			cases = append(cases, Case{Name: "sequence/" + s.name + " " + c.behaviour, needs: s.needs, run: func(t *trial) { c.run(t, s) }})
		}
	}
	return cases
}

func rangesAgain(t *trial, s sequence) {
	seq := s.of(t.ctx, t.log)
	t.same("the sequence of an empty log", len(collect(t, seq)), 0)
	t.arrange(s)
	first := collect(t, seq)
	t.same("the number of elements", len(first), arranged)
	for _, err := range seq { // not to its end
		t.ok("range", err)
		break
	}
	t.same("whether a second ranging is like the first", reflect.DeepEqual(collect(t, seq), first), true)
	t.append(s.write(arranged))
	t.same("the number of elements after an append", len(collect(t, seq)), arranged+1)
}

func bodyUsesLog(t *trial, s sequence) {
	t.arrange(s)
	n := 0
	t.within("a loop whose body appends", func() {
		for e, err := range s.of(t.ctx, t.log) {
			t.ok("range", err)
			if n%10 == 0 {
				t.append(to("s", eventlog.Any, fact("from the body")), put(eventlog.Cursor, "c", fmt.Sprint(n)))
			}
			if e, ok := e.(event.Recorded); ok && n%50 == 0 {
				t.same("a read in the body", t.position(e.ID), e.Position)
			}
			if n%100 == 0 {
				for _, err := range s.of(t.ctx, t.log) {
					t.ok("range inside", err)
					break
				}
			}
			if n++; n > arranged {
				break // it follows its own appends
			}
		}
	})
	t.same("the number of elements, without those that the body appended", n, arranged)
	fromBody := slices.DeleteFunc(payloads(t.stream("s", eventlog.StreamQuery{})), func(data string) bool { return data != "from the body" })
	t.same("the number of events from the body", len(fromBody), arranged/10)
}

func breaks(t *trial, s sequence) {
	t.arrange(s)
	t.within("loops that are left", func() {
		for i := range 50 {
			n, until := 0, 1+i*i%arranged
			for _, err := range s.of(t.ctx, t.log) {
				t.ok("range", err)
				if n++; n == until {
					break
				}
			}
			t.same("the number of elements until break", n, until)
		}
		t.append(to("s", eventlog.Any, fact("after")))
	})
}

func cancelled(t *trial, s sequence) {
	t.arrange(s)
	ctx, cancel := context.WithCancel(t.ctx)
	cancel()
	n := 0
	for e, err := range s.of(ctx, t.log) {
		if n++; !errors.Is(err, context.Canceled) {
			t.Fatalf("a sequence with a cancelled context yielded the error %v", err)
		}
		zero(t, e)
	}
	t.same("how often it was yielded", n, 1)
}

func cancelledInside(t *trial, s sequence) {
	t.arrange(s)
	for _, at := range []int{1, 2, arranged - 1} {
		ctx, cancel := context.WithCancel(t.ctx)
		n, errs := 0, 0
		for e, err := range s.of(ctx, t.log) {
			switch {
			case err == nil && errs > 0:
				t.Fatalf("an element followed the error")
			case err == nil:
				if n++; n == at {
					cancel()
				}
			case !errors.Is(err, context.Canceled):
				t.Fatalf("a sequence whose context was cancelled ended with %v", err)
			default:
				errs++
				zero(t, e)
			}
		}
		cancel()
		t.same("the number of elements and of errors", []int{n, errs}, []int{at, 1})
	}
}

// zero fails unless e is the zero value of its type.
func zero(t *trial, e any) {
	t.Helper()
	if !reflect.ValueOf(e).IsZero() {
		t.Fatalf("with the error came %v", e)
	}
}
