package process_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/eventlog/faultlog"
	"github.com/ensue-io/ensue/eventlog/pglog"
	"github.com/ensue-io/ensue/eventlog/sqlitelog"
	"github.com/ensue-io/ensue/internal/pgtest"
	"github.com/ensue-io/ensue/internal/raced"
	"github.com/ensue-io/ensue/process/processtest"
)

// programArgument makes the test's own binary the program that is killed: programArgument TALE ADDRESS BEGAN CLOCK AT WHEN.
const programArgument = "tale-program"

func TestMain(m *testing.M) {
	if len(os.Args) == 8 && os.Args[1] == programArgument {
		if err := taleProgram(context.Background(), os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(pgtest.Main(m))
}

// A real process is killed by SIGKILL again and again, by itself in the middle of an operation or by its parent at any
// moment, and started anew as another process, which takes over. The end is that of a program that nobody disturbed.
// ENSUE_KILLS names how often in all; on PostgreSQL it is a quarter of that.
func TestG6_G7_G8_G9_G11_G12_KilledAtAnyMoment(t *testing.T) {
	kills, err := strconv.Atoi(cmp.Or(os.Getenv("ENSUE_KILLS"), fmt.Sprint(raced.Fewer(80))))
	if err != nil {
		t.Fatal(err)
	}
	kills = max(1, kills/len(tales))
	for name := range tales {
		t.Run(name+", sqlite", func(t *testing.T) {
			killed{t: t, tale: name, kills: kills, address: func(n int) string { return filepath.Join(t.TempDir(), fmt.Sprint(n, ".db")) }}.run()
		})
		t.Run(name+", postgres", func(t *testing.T) {
			database := pgtest.Database(t)
			killed{t: t, tale: name, kills: max(1, kills/4), address: func(n int) string { return fmt.Sprint(database, "&schema=run", n) }}.run()
		})
	}
}

// killed is a program's many lives.
type killed struct {
	t       *testing.T
	tale    string
	kills   int
	address func(n int) string // of the logs of the n-th telling of the story
}

func (k killed) run() {
	k.t.Helper()
	random := rand.New(rand.NewPCG(1, uint64(k.kills))) // #nosec G404 G115 -- meant to be repeatable
	began := time.Now()
	first, operations := k.undisturbed(0)
	took := time.Since(began)
	second, _ := k.undisturbed(1)
	if text := first.Differences(second); text != "" {
		k.t.Fatalf("two runs that nobody disturbed differ\n%s", text)
	}
	first.Agree(second)
	byItself, byParent, stories := 0, 0, 0
	for n := 2; byItself+byParent < k.kills; n++ {
		story := k.story(n)
		var where []string
		for ended := false; !ended; {
			l := life{at: 1 + random.IntN(operations), when: faultlog.Moment(random.IntN(2))} // #nosec G115 -- 0 or 1
			if random.IntN(3) == 0 {
				l = life{delay: time.Duration(random.Int64N(int64(took)))}
			}
			done, err := story.live(k.t.Context(), l)
			switch {
			case err != nil:
				k.t.Fatalf("story %d, after %v: %v", n, where, err)
			case done.ended:
				ended = true
			case l.at > 0:
				byItself++
			default:
				byParent++
			}
			where = append(where, l.String())
		}
		stories++
		if text := first.Differences(story.end(k.t)); text != "" {
			k.t.Fatalf("story %d, killed %s, does not come to the same end\n%s", n, strings.Join(where[:len(where)-1], ", then "), text)
		}
	}
	k.t.Logf("%d kills (%d in the middle of an operation, %d at a random moment) in %d stories of %d operations, in %v", byItself+byParent, byItself, byParent,
		stories, operations, time.Since(began).Round(time.Second))
}

func (k killed) undisturbed(n int) (*processtest.End, int) {
	k.t.Helper()
	story := k.story(n)
	done, err := story.live(k.t.Context(), life{})
	if err != nil || !done.ended {
		k.t.Fatalf("a program that nobody disturbed: %+v, %v", done, err)
	}
	return story.end(k.t), done.operations
}

// telling is one story on logs of its own.
type telling struct{ tale, address, began, clock string }

func (k killed) story(n int) telling {
	return telling{k.tale, k.address(n), time.Now().UTC().Format(time.RFC3339Nano), filepath.Join(k.t.TempDir(), "clock")}
}

// life says when a process is killed: at an operation, or after a delay.
type life struct {
	at    int
	when  faultlog.Moment
	delay time.Duration
}

func (l life) String() string {
	if l.at > 0 {
		return fmt.Sprintf("%v operation %d", l.when, l.at)
	}
	return fmt.Sprintf("after %v", l.delay)
}

type lived struct {
	ended      bool // by itself
	operations int
}

// live lets a process live. What it says at its end is how many operations it did.
func (s telling) live(ctx context.Context, l life) (done lived, err error) {
	self, err := os.Executable()
	if err != nil {
		return done, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("it does not come to rest"))
	defer cancel()
	cmd := exec.CommandContext(ctx, self, programArgument, s.tale, s.address, s.began, s.clock, strconv.Itoa(l.at), strconv.Itoa(int(l.when))) // #nosec G204 -- this very program
	var out, wrong bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &wrong
	if err := cmd.Start(); err != nil {
		return done, err
	}
	if l.delay > 0 {
		timer := time.AfterFunc(l.delay, func() { _ = cmd.Process.Kill() }) // it may have ended before
		defer timer.Stop()
	}
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == -1 && ctx.Err() == nil { // by a signal
		return done, nil
	}
	if err != nil {
		return done, errors.Join(context.Cause(ctx), fmt.Errorf("%w: %s", err, &wrong))
	}
	done.ended = true
	_, err = fmt.Sscanf(out.String(), "operations %d", &done.operations)
	return done, err
}

// end reads the end of the story, which no process works on any more.
func (s telling) end(t *testing.T) *processtest.End {
	t.Helper()
	logs, closeLogs, err := openLogs(t.Context(), s.tale, s.address, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := closeLogs(); err != nil {
			t.Error(err)
		}
	}()
	tale := tales[s.tale]
	app, _, err := tale.begin(t.Context(), nil, ensue.Options{Logs: func(module string) eventlog.Log { return logs[module] }})
	if err != nil {
		t.Fatal(err)
	}
	end, err := processtest.ReadEnd(t.Context(), logs, app.Process(tale.process))
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// openLogs opens the logs of a tale in a file or a database.
func openLogs(ctx context.Context, tale, address string, now func() time.Time) (map[string]eventlog.Log, func() error, error) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	logs := map[string]eventlog.Log{}
	var closer io.Closer
	var open func(module string) (eventlog.Log, error)
	if strings.Contains(address, "://") {
		database, err := pglog.Open(ctx, address, pglog.Options{Logger: quiet, Connections: 6, Poll: 10 * time.Millisecond})
		if err != nil {
			return nil, nil, err
		}
		closer, open = database, func(module string) (eventlog.Log, error) { return database.Log(ctx, module) }
	} else {
		file, err := sqlitelog.Open(ctx, address, sqlitelog.Options{Logger: quiet, Normal: true, Now: now})
		if err != nil {
			return nil, nil, err
		}
		closer, open = file, func(module string) (eventlog.Log, error) { return file.Log(ctx, module) }
	}
	for _, module := range tales[tale].modules {
		log, err := open(module)
		if err != nil {
			return nil, nil, errors.Join(err, closer.Close())
		}
		logs[module] = log
	}
	return logs, closer.Close, nil
}

// taleProgram is the program that is killed: one life of the story, on real logs. Its clock can be moved, and is as
// far ahead as it was when the life before ended.
func taleProgram(ctx context.Context, args []string) (err error) {
	tale, address, clockFile := args[0], args[1], args[3]
	began, err := time.Parse(time.RFC3339Nano, args[2])
	if err != nil {
		return err
	}
	at, err := strconv.Atoi(args[4])
	if err != nil {
		return err
	}
	when, err := strconv.Atoi(args[5])
	if err != nil {
		return err
	}
	var ahead atomic.Int64
	if text, err := os.ReadFile(clockFile); err == nil { // #nosec G304 -- the test's own
		moved, err := time.ParseDuration(string(text))
		if err != nil {
			return err
		}
		ahead.Store(int64(moved))
	}
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	logs, closeLogs, err := openLogs(ctx, tale, address, now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLogs()) }()

	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	life := faultlog.Plan{At: at, When: faultlog.Moment(when), Kill: func() { // #nosec G115 -- 0 or 1
		_ = self.Kill()
		select {} // until it comes
	}}.Begin()
	app, happens, err := tales[tale].begin(ctx, nil, ensue.Options{Now: now, Lease: 600 * time.Millisecond,
		Logs: func(module string) eventlog.Log { return life.Log(module, logs[module]) }})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- app.Run(running) }()
	err = happens(ctx, app, func(_ context.Context, after time.Duration) error {
		move := max(time.Until(began.Add(after)), time.Duration(ahead.Load()))
		ahead.Store(int64(move))
		if err := os.WriteFile(clockFile+".new", []byte(move.String()), 0o600); err != nil {
			return err
		}
		return os.Rename(clockFile+".new", clockFile)
	})
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		return err
	}
	fmt.Println("operations", life.Operations())
	return nil
}
