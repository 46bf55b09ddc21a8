package sqlitelog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
)

// TestMain is also the main function of the second processes that these tests start.
func TestMain(m *testing.M) {
	if job := os.Getenv("SQLITELOG_TEST_CHILD"); job != "" {
		if err := child(job, os.Getenv("SQLITELOG_TEST_FILE")); err != nil {
			fmt.Fprintln(os.Stderr, job+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(job, path string) error {
	if job == "unprivileged" {
		return unprivileged(path)
	}
	ctx := context.Background()
	f, err := Open(ctx, path, Options{})
	if err != nil {
		return err
	}
	l, err := f.Log(ctx, "orders")
	if err != nil {
		return err
	}
	commands := bufio.NewScanner(os.Stdin)
	for job == "obey" && commands.Scan() { // a line "stream data" is appended and answered by its version
		stream, data, _ := strings.Cut(commands.Text(), " ")
		done, err := l.Append(ctx, to(stream, eventlog.Any, fact(data)))
		if err != nil {
			return err
		}
		fmt.Println(done.Results[0].Last)
	}
	for i := 0; job == "hurry"; i++ { // tells each event that was acknowledged, until it is killed
		var e []event.Event
		for k := range 1 + i%4 {
			e = append(e, fact(fmt.Sprintf("%d.%d", i, k)))
		}
		if _, err := l.Append(ctx, to("s", eventlog.Any, e...), eventlog.Put{Entry: eventlog.Entry{Kind: eventlog.Cursor, Key: "i", Value: fmt.Append(nil, i)}}); err != nil {
			return err
		}
		fmt.Println(i)
	}
	return f.Close()
}

type process struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startProcess(t *testing.T, job, path string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SQLITELOG_TEST_CHILD="+job, "SQLITELOG_TEST_FILE="+path)
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &process{cmd, in, bufio.NewScanner(out)}
}

func (p *process) append(t *testing.T, stream, data string) string {
	t.Helper()
	if _, err := fmt.Fprintln(p.in, stream, data); err != nil || !p.out.Scan() {
		t.Fatalf("the other process does not answer: %v", err)
	}
	return p.out.Text()
}

// TestAnotherProcessWrites: what this process knows of streams, the head and types is asked for again.
func TestAnotherProcessWrites(t *testing.T) {
	l := newLog(t, Options{})
	fill(t, l, "s", 2)
	other := startProcess(t, "obey", l.file.path)
	for round := range 3 {
		waited := make(chan error)
		head, err := l.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		go func() { waited <- l.Wait(t.Context(), head) }()
		if v := other.append(t, "s", "theirs"); v != fmt.Sprint(3+2*round) {
			t.Errorf("the other process appended version %s", v)
		}
		other.append(t, fmt.Sprint("new/", round), "theirs")
		if err := <-waited; err != nil {
			t.Errorf("wait: %v", err)
		}
		if _, err := l.Append(t.Context(), to("s", eventlog.Exactly(eventlog.Version(2+2*round)), fact("no"))); !errors.Is(err, eventlog.ErrConflict) {
			t.Errorf("append: %v", err)
		}
		mustAppend(t, l, to("s", eventlog.Exactly(eventlog.Version(3+2*round)), fact("ours")))
	}
	if got := payloads(t, l); len(got) != 2+3*3 {
		t.Errorf("the log holds %q", got)
	}
	_ = other.in.Close()
	if err := other.Wait(); err != nil {
		t.Error(err)
	}
	sound(t, l.file)
}

// TestBothProcessesWriteAtOnce, and neither loses or doubles anything.
func TestBothProcessesWriteAtOnce(t *testing.T) {
	l := newLog(t, Options{})
	fill(t, l, "s", 1)
	other := startProcess(t, "obey", l.file.path)
	theirs := make(chan int)
	go func() {
		n := 0
		for ; n < 100; n++ {
			if _, err := fmt.Fprintln(other.in, "s theirs"); err != nil || !other.out.Scan() {
				break
			}
		}
		theirs <- n
	}()
	for range 100 {
		fill(t, l, "s", 1)
	}
	n := <-theirs
	if got := payloads(t, l); n != 100 || len(got) != 1+100+n {
		t.Errorf("%d events of the other process, %d in all", n, len(got))
	}
	sound(t, l.file)
}

// TestKilledWriterLosesNothingAcknowledged: SIGKILL at any moment, and the file goes on where it was.
func TestKilledWriterLosesNothingAcknowledged(t *testing.T) {
	f := newFile(t, Options{})
	fill(t, openLog(t, f, "orders"), "s", 1)
	closeFile(t, f)
	for round := range 5 {
		p := startProcess(t, "hurry", f.path)
		acknowledged := ""
		for range 40 + 17*round {
			if !p.out.Scan() {
				t.Fatal("the process ended by itself")
			}
			acknowledged = p.out.Text()
		}
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for p.out.Scan() { // what it told before it was gone
			acknowledged = p.out.Text()
		}
		_ = p.Wait()
		again := openFile(t, f.path, Options{})
		l := openLog(t, again, "orders")
		last, err := strconv.Atoi(acknowledged)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for r, err := range l.ReadStream(t.Context(), "s", eventlog.StreamQuery{}) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, string(r.Data)); string(r.Data) == "0.0" {
				got = got[len(got)-1:] // this round's
			}
		}
		var want []string
		for i := 0; i <= last || len(want) < len(got); i++ { // one more may be there, whole
			for k := range 1 + i%4 {
				want = append(want, fmt.Sprintf("%d.%d", i, k))
			}
			if i > last+1 {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: acknowledged up to %d, there are %d events, want %d", round, last, len(got), len(want))
		}
		for e, err := range l.Entries(t.Context(), eventlog.EntryQuery{Kind: eventlog.Cursor}) {
			if i := strings.Split(got[len(got)-1], ".")[0]; err != nil || string(e.Value) != i {
				t.Errorf("the entry says %s, the last event %s, %v", e.Value, i, err)
			}
		}
		sound(t, again)
		closeFile(t, again)
	}
}
