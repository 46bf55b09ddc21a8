// Package command hands commands to the handlers of a module, each with its effect once: the receipt that a command
// was handled, with its outcome, is committed together with what the handler changed (G7).
//
// The smallest useful program makes a bus and asks for a change:
//
//	bus, err := command.NewBus(command.Config{Module: m, Handlers: []command.Handler{
//		command.Handle("confirm-order", func(ctx context.Context, w *aggregate.Work, c ConfirmOrder) (struct{}, error) { … }),
//	}})
//	// …
//	_, err = command.Do[struct{}](ctx, bus, ConfirmOrder{OrderID: "42"})
//
// Whoever may have to ask again gives the command an id, which makes asking again safe: command.WithID.
package command

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/ensue-io/ensue/event"
)

// ID identifies a command. Sent again under the same id, a command is the same command.
type ID = event.ID

// Envelope is a command on its way to its module.
type Envelope struct {
	ID       ID
	Type     string         // stable name of the command's type
	Data     []byte         // the command, as its codec wrote it
	Metadata event.Metadata // of the command itself; the events that it leads to inherit the correlation and the carried headers
	At       time.Time      // the instant at which it was decided: the time of the input that led to it; zero for a direct one
	Target   string         // optional: to what it is addressed

	// Before is the deadline: from then on, by the module's clock, the command is not begun any more, and its outcome is
	// expired. Zero means that there is none. What was begun before it may still commit behind it, and a receipt that is
	// there is the outcome, whatever the deadline says.
	Before time.Time
}

// Digest is what makes a repeat a repeat: the SHA-256 of type, target and payload, each behind its length.
type Digest [sha256.Size]byte

// String returns the digest as base64 (RFC 4648, URL alphabet, no padding).
func (d Digest) String() string { return base64.RawURLEncoding.EncodeToString(d[:]) }

// Digest returns the command's digest. Its metadata, its time and its deadline are no part of it: they say how a command
// came to be and how long it is wanted, not what it asks for. So a command that is sent again with another deadline is
// the same command: where it has its outcome, that is the answer, and where it has none, the deadline that it comes with counts.
func (e Envelope) Digest() Digest {
	var space [512]byte
	b := space[:0]
	for _, part := range [...]string{e.Type, e.Target} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(len(e.Data)))
	return sha256.Sum256(append(b, e.Data...))
}
