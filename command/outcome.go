package command

import (
	"fmt"
	"time"
)

// Status is what became of a command.
type Status string

// What may have become of a command. Accepted, Rejected, Failed and Expired are final: receipts.
const (
	Unknown  Status = ""         // the module has not heard of it
	Queued   Status = "queued"   // submitted, and not handled yet
	Accepted Status = "accepted" // handled; its changes are committed
	Rejected Status = "rejected" // refused by the domain; nothing changed
	Failed   Status = "failed"   // given up by whoever sent it; nothing changed, and nothing will
	Expired  Status = "expired"  // past its deadline before it had an outcome; nothing changed, and nothing will
)

// Final tells whether the status is that of a receipt.
func (s Status) Final() bool { return s != Unknown && s != Queued }

// Outcome is what became of one command.
type Outcome struct {
	ID          ID
	Type        string     // name of the command's type; "" where the command is unknown
	Status      Status     //
	Result      []byte     // accepted: what the handler returned, as the handler's codec wrote it
	Rejection   *Rejection // rejected: why
	Reason      string     // failed, expired: why
	At          time.Time  // the instant at which the command was decided; zero for a direct one
	Handled     time.Time  // when the receipt was written, by the module's clock
	Correlation ID         // what the conversation is about
	Repeat      bool       // the receipt was there before; no handler ran
}

// Err returns nil for a command that was accepted, its *Rejection for one that was rejected, and a *FailedError for one
// that was given up, or has no outcome.
func (o Outcome) Err() error {
	switch o.Status {
	case Accepted:
		return nil
	case Rejected:
		return o.Rejection
	default:
		return &FailedError{ID: o.ID, Type: o.Type, Status: o.Status, Reason: o.Reason}
	}
}

// Rejection is the domain's refusal of a command: an outcome, not a fault. A handler returns one as its error (wrapped
// or not), and the command's receipt keeps it.
type Rejection struct {
	Code    string            `json:"code"`              // for programs: "sold-out"
	Reason  string            `json:"reason,omitempty"`  // for people
	Details map[string]string `json:"details,omitempty"` // whatever else the sender may want to know
}

// Reject returns a rejection whose reason is formatted as by fmt.Sprintf.
func Reject(code, format string, args ...any) *Rejection {
	return &Rejection{Code: code, Reason: fmt.Sprintf(format, args...)}
}

// With returns the rejection with one detail more; r itself is unchanged.
func (r *Rejection) With(name, value string) *Rejection {
	next := &Rejection{Code: r.Code, Reason: r.Reason, Details: make(map[string]string, len(r.Details)+1)}
	for k, v := range r.Details {
		next.Details[k] = v
	}
	next.Details[name] = value
	return next
}

func (r *Rejection) Error() string {
	if r.Reason == "" {
		return "rejected: " + r.Code
	}
	return "rejected: " + r.Code + ": " + r.Reason
}
