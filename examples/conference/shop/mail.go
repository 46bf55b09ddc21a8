package shop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// SendConfirmation tells a buyer what was bought.
type SendConfirmation struct {
	Order, Buyer, Conference string
	Seats                    int
	Cents                    int64
}

// Text is what the buyer reads.
func (c SendConfirmation) Text() string {
	return fmt.Sprintf("Dear %s,\n\nyour order %s is confirmed: %d × %s, %d.%02d paid.\n", c.Buyer, c.Order, c.Seats, c.Conference, c.Cents/100, c.Cents%100)
}

// Mailer sends confirmations. It is the world outside: it may be asked again, and then always under the same key, by
// which it knows what it has sent.
type Mailer interface {
	Send(ctx context.Context, key string, c SendConfirmation) error
}

// Letters is a mailer that keeps letters in memory, by key.
type Letters struct {
	mu   sync.Mutex
	sent map[string]SendConfirmation
}

// Send implements Mailer.
func (l *Letters) Send(_ context.Context, key string, c SendConfirmation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sent == nil {
		l.sent = map[string]SendConfirmation{}
	}
	l.sent[key] = c
	return nil
}

// Sent returns what was sent, by key.
func (l *Letters) Sent() map[string]SendConfirmation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.sent)
}

// Outbox is a mailer that leaves letters in a folder, a file for each.
type Outbox string

// Send implements Mailer. A letter is there as a whole or not at all, whenever the program ends.
func (o Outbox) Send(_ context.Context, key string, c SendConfirmation) error {
	name := filepath.Join(string(o), c.Order+" "+key+".txt")
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return err // sent before
	}
	if err := os.MkdirAll(string(o), 0o700); err != nil {
		return err
	}
	draft := name + ".draft"
	if err := os.WriteFile(draft, []byte(c.Text()), 0o600); err != nil {
		return err
	}
	return os.Rename(draft, name)
}

// Sent returns how many letters there are for each order.
func (o Outbox) Sent() (map[string]int, error) {
	sent := map[string]int{}
	files, err := os.ReadDir(string(o))
	if errors.Is(err, fs.ErrNotExist) {
		return sent, nil
	}
	for _, f := range files {
		if order, _, ok := strings.Cut(f.Name(), " "); ok && strings.HasSuffix(f.Name(), ".txt") {
			sent[order]++
		}
	}
	return sent, err
}
