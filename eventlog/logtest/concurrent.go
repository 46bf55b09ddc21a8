package logtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// Sizes of the concurrent cases.
const (
	writers = 8
	appends = 200 // of each writer
)

var concurrentCases = []Case{
	{Name: "concurrent/readers see a prefix of the final order at every moment, and streams without holes", Concurrent: true, run: writersAndReaders},
	{Name: "concurrent/of many that expect the same version exactly one appends", Concurrent: true, run: func(t *trial) {
		const rounds = 60
		var won [rounds][writers]bool
		t.together(writers, func(ctx context.Context, w int) error {
			for round := range rounds {
				_, err := t.retry(ctx, to("s", eventlog.Exactly(eventlog.Version(round)), fact(fmt.Sprint(w)))) // #nosec G115 -- a small number
				if err != nil && !errors.Is(err, eventlog.ErrConflict) {
					return err
				}
				won[round][w] = err == nil
			}
			return nil
		})
		events := t.stream("s", eventlog.StreamQuery{})
		t.same("the number of events", len(events), rounds)
		for round, r := range events {
			for w := range writers {
				t.same(fmt.Sprintf("that writer %d won round %d", w, round), won[round][w], string(r.Data) == fmt.Sprint(w))
			}
		}
	}},
	{Name: "concurrent/an append to several streams is there wholly or not at all, and no one sees what is not", Concurrent: true, run: wholeOrNothing},
	{Name: "concurrent/the same append by many is there once", Concurrent: true, run: func(t *trial) {
		for round := range 20 {
			writes := []eventlog.Write{to(fmt.Sprintf("s/%d", round), eventlog.NoStream, fact("1"), fact("2")), to("all", eventlog.Any, fact("3"))}
			var done [writers]eventlog.Appended
			t.together(writers, func(ctx context.Context, w int) (err error) {
				done[w], err = t.retry(ctx, writes...)
				return err
			})
			first := 0
			for _, d := range done {
				if !d.Repeat {
					first++
				}
				t.same("the results of one of them", d.Results, done[0].Results)
			}
			t.same("how many were not told to be a repeat", first, 1)
			t.same("the stream", places(t.stream(fmt.Sprintf("s/%d", round), eventlog.StreamQuery{})), []string{fmt.Sprintf("s/%d@1", round), fmt.Sprintf("s/%d@2", round)})
			t.same("the log", len(t.read(eventlog.Query{})), 3*(round+1))
		}
	}},
	{Name: "concurrent/links to the same event by many are one", needs: links, Concurrent: true, run: func(t *trial) {
		p := t.source(20)
		for i, p := range p {
			var done [writers]eventlog.Appended
			t.together(writers, func(ctx context.Context, w int) (err error) {
				done[w], err = t.retry(ctx, link("view", eventlog.Any, p))
				return err
			})
			v := eventlog.Version(i + 1) // #nosec G115 -- a small number
			for _, d := range done {
				t.same("the result of one of them", d.Results, []eventlog.Result{{First: v, Last: v}})
			}
		}
		t.same("the view", payloads(t.stream("view", eventlog.StreamQuery{})), numbers(1, 20))
	}},
	{Name: "concurrent/waiting misses no event", Concurrent: true, run: func(t *trial) {
		const rounds = 150
		t.fill("s", 1)
		t.together(4, func(ctx context.Context, i int) error { // each appends when it has seen the event of the one before it
			seen := eventlog.Position(0)
			for n := 0; n < rounds; {
				events, err := gather(t.log.Read(ctx, eventlog.Query{After: seen}))
				if err != nil {
					return err
				}
				if len(events) == 0 {
					if err := awaited(ctx, t.log, seen); err != nil {
						return fmt.Errorf("waiting behind event %d: %w", n, err)
					}
					continue
				}
				n += len(events)
				seen = events[len(events)-1].Position
				last := events[len(events)-1].Place.Version
				if last%4 == eventlog.Version(i) { // #nosec G115 -- a small number
					if _, err := t.retry(ctx, to("s", eventlog.Exactly(last), fact("1"))); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}},
}

// writersAndReaders is the case that an event store is for: eight append to few streams, others follow.
func writersAndReaders(t *trial) {
	streams := []string{"order/1", "order/2", "bill/1"}
	watch := t.watch()
	watch.all.Go(watch.follow)
	watch.all.Go(watch.follow)
	watch.all.Go(watch.reread)
	watch.all.Go(func() { watch.restream(streams[0]) })
	t.together(writers, func(ctx context.Context, w int) error {
		for n := range appends {
			stream := streams[(w+n)%len(streams)]
			e := fact(fmt.Sprintf("%d %d", w, n))
			result, err := t.persist(ctx, stream, w%2 == 0, e)
			if err != nil {
				return fmt.Errorf("writer %d, append %d: %w", w, n, err)
			}
			if n%20 > 0 {
				continue
			}
			own, err := gather(t.log.Read(ctx, eventlog.Query{IDs: []event.ID{e.ID}}))
			if err != nil {
				return err
			}
			if len(own) != 1 || own[0].Place != (event.Place{Stream: stream, Version: result.Last}) || result.Position > 0 && own[0].Position != result.Position {
				return fmt.Errorf("writer %d was told %+v of its event, and then read %v", w, result, own)
			}
		}
		return nil
	})
	final := watch.end()
	t.same("the number of events", len(final), writers*appends)
	last := map[string]string{}
	for i, r := range final {
		if i > 0 && r.Position <= final[i-1].Position {
			t.Fatalf("position %d follows %d", r.Position, final[i-1].Position)
		}
		var w, n int
		if _, err := fmt.Sscan(string(r.Data), &w, &n); err != nil {
			t.Fatalf("payload %q", r.Data)
		}
		writer := fmt.Sprint(w)
		if before := last[writer]; before == "" && n != 0 || before != "" && before != fmt.Sprint(n-1) {
			t.Fatalf("writer %d's append %d comes after its %q", w, n, before)
		}
		last[writer] = fmt.Sprint(n)
	}
	for _, s := range streams {
		contiguous(t, s, t.stream(s, eventlog.StreamQuery{}))
	}
}

// retry appends until the store is not busy.
func (t *trial) retry(ctx context.Context, writes ...eventlog.Write) (eventlog.Appended, error) {
	for {
		done, err := t.log.Append(ctx, writes...)
		if !errors.Is(err, eventlog.ErrBusy) || ctx.Err() != nil {
			return done, err
		}
	}
}

// persist appends an event until it is taken, under the version that was last seen or any.
func (t *trial) persist(ctx context.Context, stream string, exactly bool, e event.Event) (eventlog.Result, error) {
	expect := eventlog.Any
	if exactly {
		expect = eventlog.NoStream
	}
	for {
		done, err := t.retry(ctx, to(stream, expect, e))
		var conflict *eventlog.ConflictError
		switch {
		case err == nil && len(done.Results) != 1:
			return eventlog.Result{}, fmt.Errorf("an append returned %+v", done)
		case err == nil:
			return done.Results[0], nil
		case errors.As(err, &conflict) && exactly:
			expect = eventlog.Exactly(conflict.Actual)
		default:
			return eventlog.Result{}, err
		}
		if err := ctx.Err(); err != nil {
			return eventlog.Result{}, err
		}
	}
}

// contiguous wants versions 1, 2, 3, … in the order of positions.
func contiguous(t *trial, stream string, events []event.Recorded) {
	t.Helper()
	for i, r := range events {
		if r.Place != (event.Place{Stream: stream, Version: eventlog.Version(i + 1)}) || i > 0 && r.Position <= events[i-1].Position { // #nosec G115 -- an index
			t.Fatalf("event %d of stream %q is at version %d, position %d", i+1, stream, r.Place.Version, r.Position)
		}
	}
}

// wholeOrNothing appends to several streams at once under expectations of which many fail.
func wholeOrNothing(t *trial) {
	const each = 50
	watch := t.watch()
	watch.all.Go(watch.reread)
	watch.all.Go(watch.follow)
	var taken [writers][each]bool
	t.together(writers, func(ctx context.Context, w int) error {
		for n := range each {
			data := fmt.Sprintf("%d %d", w, n)
			_, err := t.log.Append(ctx,
				to(fmt.Sprintf("own/%d", w), eventlog.Any, fact(data), fact(data)),
				to("free", eventlog.Any, fact(data)),
				put(eventlog.Receipt, data, "1"),
				to("race", eventlog.Exactly(eventlog.Version(n)), fact(data)))
			if err != nil && !errors.Is(err, eventlog.ErrConflict) && !errors.Is(err, eventlog.ErrBusy) {
				return err
			}
			taken[w][n] = err == nil
		}
		return nil
	})
	final := watch.end()
	there := map[string]int{}
	for _, r := range final {
		there[string(r.Data)]++
	}
	sum := 0
	for w := range writers {
		for n := range each {
			data := fmt.Sprintf("%d %d", w, n)
			want := 0
			if taken[w][n] {
				want, sum = 4, sum+1
			}
			t.same(fmt.Sprintf("how many of the 4 events of writer %d's append %d are there", w, n), there[data], want)
			_, receipt := t.entry(eventlog.Receipt, data)
			t.same(fmt.Sprintf("whether the entry of writer %d's append %d is there", w, n), receipt, want > 0)
		}
	}
	if sum == 0 {
		t.Fatalf("not one append was taken")
	}
	t.same("the race's stream", len(t.stream("race", eventlog.StreamQuery{})), sum)
}
