package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ensue-io/ensue/examples/trafficfines/report"
)

// torture is a program's life with many ends.
type torture struct {
	data, dir      string
	address        string // of the logs of the runs that are killed; a folder in dir if it is empty
	kills, imports int    // in all; of these in the import
	batch          int
	seed           uint64
	verify         bool // look for contradictions after every kill, not only at the end
	out            io.Writer

	workers            int // that share the process
	killed             int // of them
	every, lease, pace time.Duration
}

// mostWork is how many inputs all runs together may take, against those of an undisturbed run: what was not committed
// when the program was killed is done again, and no more.
const mostWork = 1.3

// life is what one worker said before it ended.
type life struct {
	killed            bool
	steps, duplicates int64
	figures           report.Figures
}

func (l life) handled() int64 { return l.steps + l.duplicates }

func (t *torture) run(ctx context.Context) (err error) {
	if t.imports = cmp.Or(t.imports, t.kills/4); t.data == "" || t.kills < 2 || t.imports >= t.kills {
		return errors.New("name the folder with the recorded fines by -data, and at least two -kills, not all of them -imports")
	}
	database := strings.Contains(t.address, "://")
	if t.dir == "" && t.address != "" && !database {
		t.dir, t.address = t.address, ""
	}
	if t.dir == "" {
		if t.dir, err = os.MkdirTemp("", "trafficfines-crash-"); err != nil {
			return err
		}
		defer func() {
			if err == nil { // else there is something to look at
				err = os.RemoveAll(t.dir)
			}
		}()
	}
	if t.workers > 1 {
		if !database {
			return errors.New("several workers need the address of a database: -address postgres://…")
		}
		expected, err := t.expectedFigures(ctx)
		if err != nil {
			return err
		}
		s := sharing{data: t.data, address: t.address, dir: t.dir, workers: t.workers, kills: t.kills, every: t.every, lease: t.lease,
			pace: t.pace, batch: t.batch, random: rand.New(rand.NewPCG(t.seed, 9)), out: t.out} // #nosec G404 -- meant to be repeatable
		err = s.run(ctx, expected)
		t.killed = s.killed
		return err
	}
	t.address = cmp.Or(t.address, filepath.Join(t.dir, "killed")+string(filepath.Separator))
	began := time.Now()
	undisturbed, err := t.live(ctx, filepath.Join(t.dir, "undisturbed")+string(filepath.Separator), nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "undisturbed: %d inputs taken in %.1f s\n", undisturbed.handled(), time.Since(began).Seconds())

	began = time.Now()
	random := rand.New(rand.NewPCG(t.seed, 9)) // #nosec G404 -- meant to be repeatable
	work, importing := int64(0), 0
	var before durable
	for n, m := range t.moments(random, undisturbed) {
		if m.events > 0 {
			m.events = max(m.events, before.Imported+1)
		}
		if m.inputs > 0 { // counted over all runs; the worker counts its own
			m.inputs = max(1, m.inputs-before.Inputs)
		}
		l, err := t.live(ctx, t.address, &m)
		if err != nil {
			return err
		}
		if !l.killed {
			return fmt.Errorf("the program ended before kill %d, at %+v, came", n+1, m)
		}
		now, err := readDurable(ctx, t.address, t.verify)
		if err != nil {
			return fmt.Errorf("after kill %d: %w", n+1, err)
		}
		fmt.Fprintf(t.out, "kill %2d: %v\n", n+1, now)
		if err := now.fellFrom(before); err != nil {
			return fmt.Errorf("kill %d: %w", n+1, err)
		}
		if before = now; !now.Complete {
			importing++
		}
		work += l.handled() + perLine
	}
	last, err := t.live(ctx, t.address, nil)
	if err != nil {
		return err
	}
	work += last.handled()
	now, err := readDurable(ctx, t.address, true)
	if err := cmp.Or(err, now.fellFrom(before)); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	ratio := float64(work) / float64(undisturbed.handled())
	fmt.Fprintf(t.out, "%d kills, %d of them in the import; %.2f times the inputs of an undisturbed run, in %.1f s\n", t.kills, importing, ratio, time.Since(began).Seconds())
	switch diffs := last.figures.Differences(undisturbed.figures); {
	case len(diffs) > 0:
		return fmt.Errorf("the figures differ from those of an undisturbed run:\n\t%s", strings.Join(diffs, "\n\t"))
	case importing < t.imports:
		return fmt.Errorf("only %d kills fell into the import, not %d", importing, t.imports)
	case ratio >= mostWork:
		return fmt.Errorf("that is not below %.1f times", mostWork)
	}
	fmt.Fprintln(t.out, "every figure is that of the undisturbed run, and nothing in the files contradicts itself")
	return nil
}

// moments picks when to kill, in their order: first those in the import, by how much is imported, each in its share of the
// first two thirds; then those in the run, by how much is taken, every fourth of them a short while after the program began.
func (t *torture) moments(random *rand.Rand, undisturbed life) []moment {
	var in, after []moment
	share := max(1, int64(undisturbed.figures.Events)*2/3/int64(max(1, t.imports)))
	for n := range int64(t.imports) {
		in = append(in, moment{events: 1 + n*share + random.Int64N(share)})
	}
	for range t.kills - t.imports {
		after = append(after, moment{inputs: 1 + random.Int64N(undisturbed.handled()*95/100), delay: time.Duration(random.Int64N(int64(10 * time.Millisecond)))})
	}
	slices.SortFunc(after, func(a, b moment) int { return cmp.Compare(a.inputs, b.inputs) })
	for n := range after {
		if n%4 == 1 {
			after[n] = moment{delay: time.Duration(random.Int64N(int64(200 * time.Millisecond)))}
		}
	}
	return append(in, after...)
}

// live lets a worker run on logs, to its end or to its moment.
func (t *torture) live(ctx context.Context, address string, m *moment) (l life, err error) {
	self, err := os.Executable()
	if err != nil {
		return l, err
	}
	args := []string{workerArgument, "-data", t.data, "-batch", fmt.Sprint(t.batch)}
	if m != nil {
		args = append(args, "-kill", "-events", fmt.Sprint(m.events), "-inputs", fmt.Sprint(m.inputs), "-delay", m.delay.String())
	}
	cmd := exec.CommandContext(ctx, self, args...)              // #nosec G204 -- this very program
	cmd.Env = append(os.Environ(), addressVariable+"="+address) // where a password is seen by fewer
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return l, err
	}
	if err := cmd.Start(); err != nil {
		return l, err
	}
	heard := l.hear(out)
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && m != nil && exit.ExitCode() != 1 && exit.ExitCode() != 2 && ctx.Err() == nil {
		l.killed, err = true, nil
	}
	return l, errors.Join(err, heard)
}

// hear takes in what a worker says, up to its end.
func (l *life) hear(out io.Reader) error {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil // and half a line is that of a worker that was killed
			}
			return err
		}
		what, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch what {
		case "steps":
			_, err = fmt.Sscan(text, &l.steps)
		case "duplicates":
			_, err = fmt.Sscan(text, &l.duplicates)
		case "figures":
			l.figures, err = report.ParseFigures([]byte(text))
		default:
			err = fmt.Errorf("the worker said %q", line)
		}
		if err != nil {
			return err
		}
	}
}
