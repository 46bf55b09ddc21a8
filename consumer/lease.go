package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// DefaultTTL is how long a lease lasts after its last renewal unless it says otherwise.
const DefaultTTL = 15 * time.Second

// Holder is who holds a lease.
type Holder struct {
	Worker  event.ID  `json:"worker"` // who acquired it
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Started string    `json:"started,omitempty"` // when the operating system says that the process started, so that a reused PID is noticed
	Epoch   int64     `json:"epoch"`             // grows with each change of holder
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
}

func (h Holder) String() string {
	host, _, _ := strings.Cut(h.Host, " ")
	return fmt.Sprintf("process %d on %s", h.PID, host)
}

// ErrLeaseLost means that somebody else holds the lease now; whoever lost it must stop what the lease was for.
var ErrLeaseLost = errors.New("consumer: the lease was lost")

// Lease is the right to run a consumer, kept as an entry of its home log. Whoever writes under it puts Write into the
// same append, which renews the lease and fails the append when the lease has another holder: a worker that was stopped
// and continued cannot write.
type Lease struct {
	log    eventlog.Log
	key    string
	holder Holder
	ttl    time.Duration
	clock  clock
	rev    eventlog.Revision
	kept   time.Time // when it was last renewed, by this machine's monotonic clock
}

// LeaseOptions change how a lease is taken. The zero value is useful.
type LeaseOptions struct {
	TTL    time.Duration    // default DefaultTTL
	Now    func() time.Time // the clock, for a log whose store has none (eventlog.Clock); default time.Now
	Logger *slog.Logger     // told who is waited for; default slog.Default()

	// Worker identifies who acquires. A worker takes a lease over at once that it holds itself, so it must not do the work
	// twice at a time. Default: a new identity for each call.
	Worker event.ID
}

// newLease prepares a lease that is yet to be taken.
func newLease(log eventlog.Log, key string, o *LeaseOptions) *Lease {
	if o.TTL <= 0 {
		o.TTL = DefaultTTL
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Worker.IsZero() {
		o.Worker = event.NewID()
	}
	return &Lease{log: log, key: key, ttl: o.TTL, clock: clock{own: o.Now},
		holder: Holder{Worker: o.Worker, Host: machine(), PID: os.Getpid(), Started: processStart(os.Getpid())}}
}

// Acquire waits until the lease is free and takes it. A holder that is a process of this machine which has ended is
// not waited for.
func Acquire(ctx context.Context, log eventlog.Log, name string, o LeaseOptions) (*Lease, error) {
	l := newLease(log, name, &o)
	var err error
	if l.clock, err = askClock(ctx, log, o.Now); err != nil {
		return nil, err
	}
	told := ""
	for {
		current, rev, err := readLease(ctx, log, name)
		if err != nil {
			return nil, err
		}
		now := l.clock.now()
		if rev == 0 || current.Worker == o.Worker || l.dead(current, now) {
			l.holder.Epoch, l.holder.Since, l.rev = current.Epoch+1, event.Micro(now), rev
			if rev == 0 {
				l.rev = eventlog.NoEntry
			}
			err := l.Renew(ctx)
			if err == nil {
				return l, nil
			}
			if !errors.Is(err, ErrLeaseLost) {
				return nil, err
			}
			continue // somebody was faster
		}
		if who := current.String(); who != told {
			told = who
			o.Logger.Warn("waiting for the lease", "lease", name, "holder", who, "since", current.Since, "until", current.Until)
		}
		if err := Sleep(ctx, min(current.Until.Sub(now), o.TTL/10)+time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// dead tells whether a holder is to be waited for no longer.
func (l *Lease) dead(h Holder, now time.Time) bool {
	return !now.Before(h.Until) || h.Host == l.holder.Host && ended(h)
}

// machine names this machine, and the process name space on it: what a PID means something in.
func machine() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	if space, err := os.Readlink("/proc/self/ns/pid"); err == nil {
		host += " " + space
	}
	return host
}

// Leases lists the leases of a log and who holds them, members of those that share partitions included.
func Leases(ctx context.Context, log eventlog.Log) (map[string]Holder, error) {
	holders := map[string]Holder{}
	for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Lease}) {
		if err != nil {
			return nil, err
		}
		if IsStake(e.Key) {
			continue
		}
		var h Holder
		if err := json.Unmarshal(e.Value, &h); err != nil {
			return nil, fmt.Errorf("consumer: lease %q: %w", e.Key, err)
		}
		holders[e.Key] = h
	}
	return holders, nil
}

func readLease(ctx context.Context, log eventlog.Log, name string) (Holder, eventlog.Revision, error) {
	var h Holder
	var rev eventlog.Revision
	for e, err := range log.Entries(ctx, eventlog.EntryQuery{Kind: eventlog.Lease, Keys: []string{name}}) {
		if err != nil {
			return h, 0, fmt.Errorf("consumer: read lease %q: %w", name, err)
		}
		if err := json.Unmarshal(e.Value, &h); err != nil {
			return h, 0, fmt.Errorf("consumer: lease %q: %w", name, err)
		}
		rev = e.Revision
	}
	return h, rev, nil
}

// Holder returns who holds the lease: this worker, as of its last renewal.
func (l *Lease) Holder() Holder { return l.holder }

// TTL returns how long the lease lasts after a renewal.
func (l *Lease) TTL() time.Duration { return l.ttl }

// Write returns the write that renews the lease and fences the append that it is part of. Appends under one lease must
// follow each other: each needs the revision that the one before it returned.
func (l *Lease) Write() eventlog.Put {
	l.holder.Until = event.Micro(l.clock.now().Add(l.ttl))
	value, err := json.Marshal(l.holder)
	if err != nil {
		panic(err) // a Holder has nothing that JSON cannot hold
	}
	return eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Lease, Key: l.key, Value: value, Due: l.holder.Until}, Expect: l.rev}
}

// Renewed takes note of the revision that an append with Write returned.
func (l *Lease) Renewed(rev eventlog.Revision) { l.rev, l.kept = rev, time.Now() }

// Keep renews the lease in an append of its own if a third of it has passed.
func (l *Lease) Keep(ctx context.Context) error {
	if l.Spare() > 0 {
		return nil
	}
	return l.Renew(context.WithoutCancel(ctx)) // cut short, nobody would know its revision
}

// Spare returns how long it is until Keep renews the lease.
func (l *Lease) Spare() time.Duration { return l.ttl/3 - time.Since(l.kept) }

// Lost tells whether an append failed because the lease has another holder.
func (l *Lease) Lost(err error) bool {
	var conflict *eventlog.EntryConflictError
	return errors.As(err, &conflict) && conflict.Kind == eventlog.Lease && conflict.Key == l.key
}

// Renew renews the lease in an append of its own.
func (l *Lease) Renew(ctx context.Context) error {
	done, err := l.log.Append(ctx, l.Write())
	if err != nil {
		if l.Lost(err) {
			return fmt.Errorf("%w: %q: %w", ErrLeaseLost, l.key, err)
		}
		return fmt.Errorf("consumer: renew lease %q: %w", l.key, err)
	}
	l.Renewed(done.Results[0].Revision)
	return nil
}

// Release gives the lease up, so that the next worker need not wait for its end.
func (l *Lease) Release(ctx context.Context) error {
	l.holder.Until = event.Micro(l.clock.now())
	value, err := json.Marshal(l.holder)
	if err != nil {
		return err
	}
	_, err = l.log.Append(ctx, eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Lease, Key: l.key, Value: value}, Expect: l.rev})
	if err != nil && !l.Lost(err) {
		return fmt.Errorf("consumer: release lease %q: %w", l.key, err)
	}
	return nil
}
