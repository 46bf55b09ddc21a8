package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/ensue-io/ensue/consumer"
	"github.com/ensue-io/ensue/examples/conference/crowd"
)

// progress shows what goes on: one line that is redrawn on a terminal, a line now and then elsewhere.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	redo  bool // the line can be redrawn
	drawn bool // there is one
}

func newProgress(out io.Writer) *progress {
	return &progress{out: out, redo: isTerminal(out) && os.Getenv("TERM") != "dumb"}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// line prints a line that stays.
func (p *progress) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.out, format+"\n", args...)
}

func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.drawn = false
	}
}

// follow shows how far a visit has come, until the context ends.
func (p *progress) follow(ctx context.Context, buyers int, visit *crowd.Visit) {
	every := 3 * time.Second
	if p.redo {
		every = 100 * time.Millisecond
	}
	began := time.Now()
	for consumer.Sleep(ctx, every) == nil {
		now := visit.Progress()
		text := fmt.Sprintf("%5.1f s: %d of %d orders placed, %d ended, %d confirmed", time.Since(began).Seconds(), now.Placed, buyers, now.Closed, now.Confirmed)
		if !p.redo {
			p.line("%s", text)
			continue
		}
		p.mu.Lock()
		fmt.Fprint(p.out, "\r\x1b[K", text)
		p.drawn = true
		p.mu.Unlock()
	}
	p.mu.Lock()
	p.clear()
	p.mu.Unlock()
}

// colours tells whether to use colours: on a terminal whose user did not ask for none.
type colours bool

func (p *progress) colours(out io.Writer) colours {
	return colours(isTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

func (c colours) good(text string) string { return c.paint("32", text) }
func (c colours) bad(text string) string  { return c.paint("1;31", text) }

func (c colours) paint(code, text string) string {
	if !c {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
