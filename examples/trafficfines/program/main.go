package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/ensue-io/ensue/examples/internal/where"
	"github.com/ensue-io/ensue/examples/trafficfines/dataset"
	"github.com/ensue-io/ensue/examples/trafficfines/domain"
	"github.com/ensue-io/ensue/examples/trafficfines/report"
	"github.com/ensue-io/ensue/process"
)

// flags are what the command line says.
type flags struct {
	data                   string
	logs                   *where.Logs
	json, stats, check     bool
	cpuProfile, memProfile string
	generate               string
	cases                  int
	seed                   uint64
	panicAt                string
}

const usage = `trafficfines runs thirteen years of traffic fines through a process, and reports what it led to.

  go run ./examples/trafficfines -data DATA -dir DIR [--json]
  go run ./examples/trafficfines -data DATA -address postgres://user@host/database [--json]
  go run ./examples/trafficfines -generate DATA -cases 1000 -seed 1

DATA holds registry.csv.gz, post.csv.gz, payments.csv.gz and appeals.csv.gz. DIR gets a file for each module. Running
again on the same logs goes on where the last run stopped, and changes nothing after one that finished. Several programs
that run on one address at a time share the work.

`

// Main runs the program and returns its exit code.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if err := f.run(ctx, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "trafficfines:", err)
		return 1
	}
	return 0
}

func parseFlags(args []string, stderr io.Writer) (*flags, error) {
	f := &flags{}
	set := flag.NewFlagSet("trafficfines", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.Usage = func() {
		fmt.Fprint(stderr, usage)
		set.PrintDefaults()
	}
	set.StringVar(&f.data, "data", "", "`folder` with the recorded fines; not needed once they are imported")
	f.logs = where.Add(set, "`folder` of the modules' files; without an address, a new temporary one")
	set.BoolVar(&f.json, "json", false, "print the figures as a JSON object")
	set.BoolVar(&f.check, "check", false, "compare the figures with expected.json in the -data folder")
	set.BoolVar(&f.stats, "stats", false, "print what the run took, also with --json")
	set.StringVar(&f.cpuProfile, "cpuprofile", "", "write a CPU profile to a `file`")
	set.StringVar(&f.memProfile, "memprofile", "", "write a heap profile to a `file`, as of shortly before the process has finished")
	set.StringVar(&f.generate, "generate", "", "make up fines into a `folder`, and do nothing else")
	set.IntVar(&f.cases, "cases", 1000, "how many fines to make up")
	set.Uint64Var(&f.seed, "seed", 1, "what the fines that are made up depend on")
	set.StringVar(&f.panicAt, "panic", "", "let the process panic for one `fine`, to see that it is held while the others go on")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q", set.Arg(0))
		fmt.Fprintln(stderr, "trafficfines:", err)
		return nil, err
	}
	return f, nil
}

// memoryLimit is what Go's part of the memory is held to: the recorded fines need 160 MB in the end, and would otherwise be
// given twice as much before it is collected. SQLite's part, up to 200 MB for five files, comes on top.
const memoryLimit = 256 << 20

func (f *flags) run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	if f.generate != "" {
		return dataset.Generate(f.generate, f.cases, f.seed)
	}
	address, err := f.logs.Address(os.Getenv)
	if err != nil {
		return err
	}
	if f.data == "" && address == "" {
		return errors.New("name the folder with the recorded fines by -data, or make some up first: -generate DATA")
	}
	if address == "" {
		dir, err := os.MkdirTemp("", "trafficfines-")
		if err != nil {
			return err
		}
		fmt.Fprintln(stderr, "the modules' files are in", dir)
		address = where.Folder(dir)
	}
	if f.cpuProfile != "" {
		out, err := os.Create(f.cpuProfile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(out); err != nil {
			return errors.Join(err, out.Close())
		}
		defer func() {
			pprof.StopCPUProfile()
			err = errors.Join(err, out.Close())
		}()
	}
	tell := teller(stderr)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	c := Config{Data: f.data, Address: address, Tell: tell, Logger: slog.New(slog.NewTextHandler(stderr, nil))}
	if f.panicAt != "" {
		c.Watch = func(_ domain.Fine, do *process.Step) {
			if do.Instance() == f.panicAt {
				panic("as the command line asked for")
			}
		}
	}
	heap := &heapProfile{path: f.memProfile}
	if f.memProfile != "" {
		c.Tell = func(p Progress) { tell(p); heap.take(p) }
	}
	r, stats, err := Run(ctx, c)
	if err := errors.Join(err, heap.err); err != nil {
		return err
	}
	for _, h := range r.Held {
		fmt.Fprintln(stderr, h)
	}
	if err := f.print(stdout, r.Figures); err != nil {
		return err
	}
	if f.stats || !f.json {
		stats.write(stderr)
	}
	if f.check {
		return f.compare(r.Figures, stderr)
	}
	return nil
}

func (f *flags) print(stdout io.Writer, figures report.Figures) error {
	if !f.json {
		return figures.WriteTable(stdout)
	}
	text, err := figures.JSON()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s\n", text)
	return err
}

// compare looks for differences from what is expected, where that is known.
func (f *flags) compare(figures report.Figures, stderr io.Writer) error {
	path := filepath.Join(f.data, "expected.json")
	text, err := os.ReadFile(path) // #nosec G304 -- the user names the folder
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(stderr, "nothing to compare with: there is no", path)
		return nil
	}
	if err != nil {
		return err
	}
	expected, err := report.ParseFigures(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if diffs := figures.Differences(expected); len(diffs) > 0 {
		return fmt.Errorf("not as expected:\n\t%s", strings.Join(diffs, "\n\t"))
	}
	fmt.Fprintln(stderr, "every figure is as expected")
	return nil
}

// heapProfile is written again and again while the process runs, so that the last one shows what its end needs.
type heapProfile struct {
	path string
	last time.Time
	err  error
}

func (h *heapProfile) take(p Progress) {
	if p.Phase != Collecting || time.Since(h.last) < 3*time.Second || h.err != nil {
		return
	}
	h.last = time.Now()
	out, err := os.Create(h.path)
	if err == nil {
		err = errors.Join(pprof.WriteHeapProfile(out), out.Close())
	}
	h.err = err
}

// write tells what a run took.
func (s Stats) write(out io.Writer) {
	e := s.Engine
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
	fmt.Fprintf(out, "import %s, run %s, read back %s, together %s\n", seconds(s.Import), seconds(s.Run), seconds(s.Report), seconds(s.Import+s.Run+s.Report))
	fmt.Fprintf(out, "%d inputs taken, %d of them timeouts; %d duplicates, %d commands settled\n", e.Inputs, e.Timeouts, e.Duplicates, e.Commands)
	if e.Inputs > 0 {
		fmt.Fprintf(out, "%d transactions of the process, %.2f for 1,000 inputs\n", e.Transactions, 1000*float64(e.Transactions)/float64(e.Inputs))
	}
	if m := s.Memory; m[2] > 0 {
		fmt.Fprintf(out, "%d MB of memory resident at most: %d up to the end of the import, %d up to that of the run\n", m[2]/1e6, m[0]/1e6, m[1]/1e6)
	}
}

// mostMemory returns the high-water mark of resident memory in bytes; 0 where the system doesn't tell.
func mostMemory() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 && err == nil {
			return kib << 10
		}
	}
	return 0
}

// teller returns what tells of progress: on a terminal in place, elsewhere a line now and then.
func teller(out io.Writer) func(Progress) {
	file, ok := out.(*os.File)
	terminal := false
	if ok {
		info, err := file.Stat()
		terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	var phase Phase
	last := time.Time{}
	return func(p Progress) {
		switch {
		case terminal && p.Phase != phase:
			fmt.Fprintf(out, "\n%s\r", p)
		case terminal:
			fmt.Fprintf(out, "%s\r", p)
		case p.Phase != phase || time.Since(last) >= 5*time.Second:
			fmt.Fprintln(out, p)
			last = time.Now()
		}
		phase = p.Phase
	}
}

func (p Progress) String() string {
	switch e := p.Engine; p.Phase {
	case Importing:
		return fmt.Sprintf("import: %d events", p.Events)
	case Collecting:
		if e.Clock.IsZero() {
			return string(p.Phase)
		}
		return fmt.Sprintf("run: %d inputs, %d penalties, the clock stands at %s", e.Inputs+e.Duplicates, e.Commands, domain.Date(e.Clock))
	default:
		return string(p.Phase)
	}
}
