package pglog

import (
	stdbytes "bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/internal/pgtest"
)

// proxy stands between programs and a server. It can lead elsewhere, and lose a request or the answer to it.
type proxy struct {
	listener net.Listener

	mu    sync.Mutex
	to    *pgx.ConnConfig
	conns map[net.Conn]bool
	loses func(body []byte) loss
	lost  int
}

// loss is what becomes of a request, and of the connection.
type loss int

const (
	nothingLost loss = iota
	requestLost      // the server never gets it
	answerLost       // the server has done it
)

// newProxy makes a proxy for a database, and returns the database's address behind it.
func newProxy(t *testing.T, address string) (*proxy, string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, conns: map[net.Conn]bool{}}
	p.leadTo(t, address)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
		work.Wait()
	})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = listener.Addr().String()
	q := u.Query()
	q.Del("host")
	q.Del("port")
	q.Set("sslmode", "disable")
	u.RawQuery = q.Encode()
	return p, u.String()
}

// leadTo has new connections lead to another server, and cuts those that there are.
func (p *proxy) leadTo(t *testing.T, address string) {
	t.Helper()
	to, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.to = to
	p.mu.Unlock()
	p.cut()
}

// cut closes all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
}

// lose sets what is lost. It is asked for each message of a program, and for no other once something was lost.
func (p *proxy) lose(loses func(body []byte) loss) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loses, p.lost = loses, 0
}

// losses says how often something was lost since lose.
func (p *proxy) losses() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

func (p *proxy) verdict(body []byte) loss {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loses == nil {
		return nothingLost
	}
	found := p.loses(body)
	if found != nothingLost {
		p.loses = nil
		p.lost++
	}
	return found
}

func (p *proxy) serve(client net.Conn) {
	p.mu.Lock()
	network, at := pgconn.NetworkAddress(p.to.Host, p.to.Port)
	p.conns[client] = true
	p.mu.Unlock()
	var dialer net.Dialer
	server, err := dialer.Dial(network, at)
	if err == nil {
		p.mu.Lock()
		p.conns[server] = true
		p.mu.Unlock()
		var work sync.WaitGroup
		var swallow atomic.Bool
		work.Go(func() {
			p.requests(client, server, &swallow)
			if !swallow.Load() {
				_ = client.Close()
				_ = server.Close()
			}
		})
		answers(client, server, &swallow)
		_ = client.Close()
		_ = server.Close()
		work.Wait()
		p.mu.Lock()
		delete(p.conns, server)
		p.mu.Unlock()
	}
	_ = client.Close()
	p.mu.Lock()
	delete(p.conns, client)
	p.mu.Unlock()
}

// requests passes a program's messages on, until one is lost.
func (p *proxy) requests(client io.Reader, server io.Writer, swallow *atomic.Bool) {
	for started := false; ; started = true {
		head := make([]byte, 4, 5) // the length; from the second message on, a type stands before it
		if started {
			head = head[:5]
		}
		if _, err := io.ReadFull(client, head); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[len(head)-4:])-4)
		if _, err := io.ReadFull(client, body); err != nil {
			return
		}
		switch p.verdict(body) {
		case requestLost:
			return
		case answerLost:
			swallow.Store(true)
		}
		if _, err := server.Write(append(head, body...)); err != nil {
			return
		}
	}
}

// answers passes a server's messages on. Those that are to be lost it awaits, up to the one by which the server says that
// it is ready for the next request.
func answers(client io.Writer, server io.Reader, swallow *atomic.Bool) {
	chunk := make([]byte, 64<<10)
	var end []byte
	for {
		n, err := server.Read(chunk)
		if err != nil {
			return
		}
		if !swallow.Load() {
			if _, err := client.Write(chunk[:n]); err != nil {
				return
			}
			continue
		}
		end = append(end, chunk[:n]...)
		if len(end) >= 6 && stdbytes.Equal(end[len(end)-6:len(end)-1], []byte{'Z', 0, 0, 0, 5}) {
			return
		}
	}
}

// containing loses what contains a text.
func containing(text string, what loss) func([]byte) loss {
	return func(body []byte) loss {
		if stdbytes.Contains(body, []byte(text)) {
			return what
		}
		return nothingLost
	}
}

// TestG5_LostAnswer: the connection is lost between an append and the answer to it, in each way that an append is made.
// Nobody knows, and says so; the same append again succeeds, whether the first one did or not, and nothing is there twice.
func TestG5_LostAnswer(t *testing.T) {
	t.Parallel()
	address := pgtest.Database(t)
	p, behind := newProxy(t, address)
	for _, mode := range []string{"", "default_query_exec_mode=simple_protocol", "default_transaction_isolation=serializable"} {
		d := opened(t, with(behind, mode), Options{Logger: quiet})
		l := logOf(t, d)
		for _, lost := range []loss{requestLost, answerLost} {
			t.Run(fmt.Sprint(mode, " ", lost), func(t *testing.T) {
				f := follower{}
				f.mustRead(t, l)
				marker := event.NewID().String()
				e := placed()
				e.Type = marker
				stream := "order/" + marker
				key := "entry " + marker
				cases := map[string]struct {
					at     string
					writes []eventlog.Write
				}{
					"in a group": {marker, []eventlog.Write{eventlog.ToStream{Stream: stream, Expect: eventlog.NoStream, Events: []event.Event{e}}}},
					"by several calls": {"commit\x00", []eventlog.Write{
						eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Document, Key: key}}, eventlog.ToStream{Stream: stream, Expect: eventlog.NoStream, Events: []event.Event{e}},
						eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Document, Key: key, Value: []byte("second")}}}},
					"of entries alone": {marker, []eventlog.Write{eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Document, Key: key, Value: []byte("only")}, Expect: eventlog.NoEntry}}},
				}
				for name, c := range cases {
					if name != "of entries alone" { // events of their own
						e.ID, stream = event.NewID(), "order/"+event.NewID().String()
						for i, w := range c.writes {
							if w, ok := w.(eventlog.ToStream); ok {
								w.Stream, w.Events = stream, []event.Event{e}
								c.writes[i] = w
							}
						}
					}
					key := key + name
					for i, w := range c.writes {
						if w, ok := w.(eventlog.Put); ok {
							w.Entry.Key = key
							c.writes[i] = w
						}
					}
					p.lose(containing(c.at, lost))
					_, err := l.Append(t.Context(), c.writes...)
					if !errors.Is(err, eventlog.ErrUnknown) || p.losses() != 1 {
						t.Fatalf("%s: append: %v, after %d losses", name, err, p.losses())
					}
					if name == "of entries alone" {
						found := 0
						for _, err := range l.Entries(t.Context(), eventlog.EntryQuery{Kind: eventlog.Document, Keys: []string{key}}) {
							if err != nil {
								t.Fatal(err)
							}
							found++
						}
						if (found == 1) != (lost == answerLost) {
							t.Errorf("there are %d entries", found)
						}
						continue
					}
					done, err := l.Append(t.Context(), c.writes...)
					if err != nil || done.Repeat != (lost == answerLost) {
						t.Fatalf("%s: append again: %+v, %v", name, done, err)
					}
					if done, err = l.Append(t.Context(), c.writes...); err != nil || !done.Repeat {
						t.Fatalf("%s: append once more: %+v, %v", name, done, err)
					}
					before := len(f.ids)
					f.mustRead(t, l)
					if f.has(t, e.ID); len(f.ids) != before+1 {
						t.Errorf("%s: %d events are new", name, len(f.ids)-before)
					}
				}
			})
		}
	}
}

// listener returns the process of the server that listens for a database, 0 if there is none.
func listener(t *testing.T, conn *pgx.Conn) (pid int) {
	t.Helper()
	err := conn.QueryRow(t.Context(), `SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'`).Scan(&pid)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// arrive appends by one log and waits for it at another, at most a second.
func arrive(t *testing.T, from, at *Log, n int) {
	t.Helper()
	for range n {
		head, err := at.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		appendSome(t, from, "s", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(float64(time.Second)*slack(t)))
		err = at.Wait(ctx, head)
		cancel()
		if err != nil {
			t.Fatalf("wait: %v", err)
		}
	}
}

// TestG1_ConnectionThatListensIsKilled: events arrive all the same, and the connection is replaced.
func TestG1_ConnectionThatListensIsKilled(t *testing.T) {
	t.Parallel()
	address := pgtest.Database(t)
	admin := connected(t, address)
	from, at := logOf(t, opened(t, address, Options{NoListen: true})), logOf(t, opened(t, address, Options{Logger: quiet}))
	var f follower
	pid := 0
	for range 3 {
		arrive(t, from, at, 3)
		eventually(t, "another connection listens", func() (bool, error) {
			now := listener(t, admin)
			ok := now != 0 && now != pid
			if ok {
				pid = now
			}
			return ok, nil
		})
		if _, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend($1)`, pid); err != nil {
			t.Fatal(err)
		}
		arrive(t, from, at, 3)
	}
	f.mustRead(t, at)
	if len(f.ids) != 18 {
		t.Errorf("%d events were read", len(f.ids))
	}
}

// TestG1_NobodyListens: without any notification, nothing is missed.
func TestG1_NobodyListens(t *testing.T) {
	t.Parallel()
	address := pgtest.Database(t)
	from, at := logOf(t, opened(t, address, Options{NoListen: true})), logOf(t, opened(t, address, Options{NoListen: true}))
	arrive(t, from, at, 10)
	if pid := listener(t, connected(t, address)); pid != 0 {
		t.Errorf("process %d listens", pid)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var appended []event.ID
	var work sync.WaitGroup
	work.Go(func() { appended = appendSome(t, from, "s", 200) })
	var f follower
	for len(f.ids) < 210 {
		if err := at.Wait(ctx, f.cursor.Position); err != nil {
			t.Fatal(err)
		}
		f.mustRead(t, at)
	}
	work.Wait()
	if !slices.Equal(f.ids[10:], appended) {
		t.Error("the events of one writer were read in another order")
	}
}

// slack is by how much longer than usual things may take on a machine that is busy with something else: a number, such as
// 3, in ENSUE_TEST_SLACK.
func slack(t *testing.T) float64 {
	t.Helper()
	text := os.Getenv("ENSUE_TEST_SLACK")
	if text == "" {
		return 1
	}
	factor, err := strconv.ParseFloat(text, 64)
	if err != nil || factor <= 0 {
		t.Fatalf("ENSUE_TEST_SLACK is %q, and not a number such as 3", text)
	}
	return factor
}
