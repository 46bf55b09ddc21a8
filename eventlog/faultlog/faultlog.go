// Package faultlog lets a program crash at a chosen storage operation. It wraps the logs that the program works on; from
// the crash on every operation of all of them fails, as if the process were dead, while what was written stays:
//
//	life := faultlog.Plan{At: 17, When: faultlog.After}.Begin()
//	err := program(life.Log("orders", orders), life.Log("payments", payments)) // stops at its 17th operation
//	next := faultlog.Plan{}.Begin()
//	err = program(next.Log("orders", orders), next.Log("payments", payments)) // goes on, and never stops
//
// A program is given new wrappers for each of its lives. An operation that stops before it happens leaves nothing; one
// that stops after it happened leaves everything, and nobody hears of it.
//
// Package processtest runs whole scenarios in this way: see its CrashEverywhere.
package faultlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrCrashed is what every operation returns from the crash on.
var ErrCrashed = errors.New("faultlog: the program has crashed")

// Moment says on which side of an operation a program crashes.
type Moment uint8

// The two sides of an operation.
const (
	Before Moment = iota // the operation doesn't happen
	After                // it has happened, and the program doesn't hear of it
)

func (m Moment) String() string {
	if m == After {
		return "after"
	}
	return "before"
}

// Plan says where a program crashes. The zero Plan is that of a life without a crash.
type Plan struct {
	At   int // the number of the operation, from 1; 0 for none
	When Moment
	Most int // crash behind so many calls, those that ask again included: a program that never comes to rest; 0 for no bound

	// Kill, if set, is called at the crash: a real process kills itself with it, and doesn't return.
	Kill func()
}

// Operation is something that a program does to what outlives it. What is asked again, while nothing was written since, is
// no new operation: a program that has nothing to do may ask for ever.
type Operation struct {
	Number int    // in this life, from 1
	Kind   string // "append", "read", "read stream", "entries", "head", "wait" …, or what Life.Do was told
	Where  string // the module
	What   string // what it writes, or asks for
}

func (o Operation) String() string {
	if o.What == "" {
		return fmt.Sprintf("operation %d, %s of %s", o.Number, o.Kind, o.Where)
	}
	return fmt.Sprintf("operation %d, %s of %s: %s", o.Number, o.Kind, o.Where, o.What)
}

// Life is one life of a program: it counts the operations of all its logs, and ends at the one that the plan names. It is
// safe for concurrent use.
type Life struct {
	plan  Plan
	ended context.Context
	end   context.CancelFunc

	mu      sync.Mutex
	count   int
	crashed bool
	last    Operation
	asked   map[Operation]bool // since something was written
	calls   int
}

// Begin begins a life.
func (p Plan) Begin() *Life {
	l := &Life{plan: p, asked: map[Operation]bool{}}
	l.ended, l.end = context.WithCancel(context.Background())
	return l
}

// Operations returns how many operations have begun, those left out that ask again.
func (l *Life) Operations() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// Calls returns how often the logs were called, those that ask again included.
func (l *Life) Calls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

// Crashed returns the operation at which the program crashed, if it did.
func (l *Life) Crashed() (Operation, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, l.crashed
}

// Retire says that the program has ended in peace: from then on the life's logs work, and nothing crashes. A program that
// has crashed is not brought back by it.
func (l *Life) Retire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plan = Plan{}
}

// Context returns a context that also ends, with ErrCrashed as its cause, when the program crashes: what a program runs
// under, since one that is dead doesn't go on. Call the function to release it.
func (l *Life) Context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.ended, func() { cancel(ErrCrashed) })
	return ctx, func() { stop(); cancel(nil) }
}

// Do makes an operation of whatever else the program does to what outlives it: a dispatch, a call to another system. It
// counts like one of a log. When the program has crashed, Do returns ErrCrashed.
func (l *Life) Do(kind, where, what string, do func() error) error {
	return l.do(Operation{Kind: kind, Where: where, What: what}, true, do)
}

func (l *Life) do(op Operation, writes bool, do func() error) error {
	op, err := l.begin(op, writes)
	if err != nil {
		return err
	}
	err = do()
	if dead := l.done(op, writes); dead != nil {
		return dead
	}
	return err
}

// begin counts an operation; an error says that it must not happen. One that asks again comes back with the number 0.
func (l *Life) begin(op Operation, writes bool) (Operation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.crashed {
		return op, ErrCrashed
	}
	if l.calls++; l.plan.Most > 0 && l.calls > l.plan.Most {
		return op, l.crash(op)
	}
	switch {
	case writes:
		clear(l.asked)
	case l.asked[op]:
		return op, nil
	default:
		l.asked[op] = true
	}
	l.count++
	op.Number = l.count
	if l.plan.When == Before && l.plan.At == op.Number {
		return op, l.crash(op)
	}
	return op, nil
}

// done is told of an operation that has happened; an error says that nobody hears of it.
func (l *Life) done(op Operation, writes bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if writes { // what was asked meanwhile may have been answered without it
		clear(l.asked)
	}
	if l.crashed {
		return ErrCrashed
	}
	if l.plan.When == After && op.Number > 0 && l.plan.At == op.Number {
		return l.crash(op)
	}
	return nil
}

func (l *Life) crash(op Operation) error {
	if l.plan.Kill != nil {
		l.plan.Kill()
	}
	l.crashed, l.last = true, op
	l.end()
	return ErrCrashed
}

// dead returns ErrCrashed from the crash on.
func (l *Life) dead() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.crashed {
		return ErrCrashed
	}
	return nil
}
