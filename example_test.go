package ensue_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ensue-io/ensue"
	"github.com/ensue-io/ensue/aggregate"
	"github.com/ensue-io/ensue/command"
	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/eventlog"
	"github.com/ensue-io/ensue/process"
)

// A library lends books, and writes letters to its readers.
type (
	BookLent      struct{ Loan, Reader, Title string } // events of the library
	BookReturned  struct{ Loan string }
	WriteLetter   struct{ Reader, Text string } // a command to those who write letters
	LetterWritten struct{ Reader, Text string } // their event
	FourWeeks     struct{}                      // a timeout
	Loan          struct{ Reader, Title string }
)

// lending greets the reader of each book, and asks for it back after four weeks.
var lending = process.Define("lending",
	process.On[Loan, BookLent]{
		Starts: true,
		Locate: process.Key(func(e BookLent) string { return e.Loan }),
		Evolve: func(_ Loan, in process.Input[BookLent]) Loan { return Loan{in.Event.Reader, in.Event.Title} },
		React: func(l Loan, _ process.Input[BookLent], do *process.Step) {
			do.Send(WriteLetter{l.Reader, "Enjoy " + l.Title + "!"})
			do.After(28*24*time.Hour, FourWeeks{})
		},
	},
	process.On[Loan, BookReturned]{
		NoInstance: process.Ignore,
		Locate:     process.Key(func(e BookReturned) string { return e.Loan }),
		React:      func(_ Loan, _ process.Input[BookReturned], do *process.Step) { do.Complete() },
	},
	process.OnTimeout[Loan, FourWeeks]{
		Name: "four-weeks",
		React: func(l Loan, _ process.Input[FourWeeks], do *process.Step) {
			do.Send(WriteLetter{l.Reader, "We miss " + l.Title + "."})
		},
	},
).Otherwise(process.Ignore)

// reader counts the letters that were written to a reader.
var reader = aggregate.Define("reader", func(letters int, _ any) int { return letters + 1 })

// writeLetter returns the letter's number. It dates the letter by the instant at which the process decided on it.
func writeLetter(ctx context.Context, w *aggregate.Work, c WriteLetter) (number int, err error) {
	err = aggregate.Change(ctx, w, reader, c.Reader, func(letters int) ([]any, error) {
		if letters == 3 {
			return nil, command.Reject("enough", "%s got three letters", c.Reader)
		}
		number = letters + 1
		return []any{event.New(LetterWritten(c)).At(w.Now())}, nil
	})
	return number, err
}

func library() ensue.Module {
	return ensue.Module{Name: "library", Processes: []process.Definition{lending},
		Events: []event.Type{event.Named[BookLent]("book-lent"), event.Named[BookReturned]("book-returned")}}
}

func letters() ensue.Module {
	return ensue.Module{Name: "letters", Commands: []command.Handler{command.Handle("write-letter", writeLetter)},
		Events: []event.Type{event.Named[LetterWritten]("letter-written")}}
}

// open opens the library and its letters on logs in memory.
func open(options ensue.Options) *ensue.App {
	app, err := ensue.Open(context.Background(), "memory:", library(), letters(), options)
	if err != nil {
		panic(err)
	}
	return app
}

// running runs an application until stop is called, which closes it.
func running(app *ensue.App) (stop func()) {
	ctx, end := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := app.Run(ctx); err != nil {
			panic(err)
		}
	})
	return func() {
		end()
		run.Wait()
		if err := app.Close(); err != nil {
			panic(err)
		}
	}
}

// printLetters prints what was written.
func printLetters(app *ensue.App, line func(event.Recorded, LetterWritten) string) {
	letters := app.Module("letters")
	for rec, err := range letters.Log().Read(context.Background(), eventlog.Query{}) {
		if err != nil {
			panic(err)
		}
		facts, err := letters.Types().Decode(rec.Event)
		if err != nil {
			panic(err)
		}
		for _, fact := range facts {
			fmt.Println(line(rec, fact.(LetterWritten)))
		}
	}
}

// An application is its modules, opened on their logs, and running until its context ends.
func ExampleOpen() {
	ctx, stop := context.WithCancel(context.Background())
	app, err := ensue.Open(ctx, "memory:", library(), letters()) // "library/" would keep a file for each in that folder
	if err != nil {
		panic(err)
	}
	ended := make(chan error)
	go func() { ended <- app.Run(ctx) }()

	if _, err := app.Module("library").Record(ctx, "loan/1", BookLent{"1", "Ada", "Faust"}); err != nil {
		panic(err)
	}
	if err := app.WaitIdle(ctx); err != nil {
		panic(err)
	}
	printLetters(app, func(_ event.Recorded, l LetterWritten) string { return l.Reader + ": " + l.Text })
	stop()
	fmt.Println(<-ended, app.Close())
	// Output:
	// Ada: Enjoy Faust!
	// <nil> <nil>
}

// Open returns every mistake at once.
func ExampleOpen_mistakes() {
	twice := process.On[Loan, BookLent]{Starts: true, Locate: process.Key(func(e BookLent) string { return e.Loan })}
	m := library()
	m.Name = "the library"
	m.Processes = []process.Definition{process.Define("lending", twice, twice).Otherwise(process.Ignore)}
	_, err := ensue.Open(context.Background(), "memory:", m)
	fmt.Println(err)
	// Output:
	// ensue: a module's name is 1 to 100 letters, digits, - or _, not "the library"
	// ensue: module "the library": process "lending":
	//	event ensue_test.BookLent is handled twice; say by In where each part does
}

// Do has a command handled at once and returns the result. A rejection is an error.
func ExampleDo() {
	app := open(ensue.Options{})
	defer app.Close()
	for range 4 {
		number, err := ensue.Do[int](context.Background(), app, WriteLetter{"Ada", "Hello!"})
		var rejection *command.Rejection
		if errors.As(err, &rejection) {
			fmt.Println(rejection.Code+":", rejection.Reason)
			return
		}
		fmt.Println(number, err)
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 3 <nil>
	// enough: Ada got three letters
}

// Submit puts a command into the queue, where it survives the program. Run handles it.
func ExampleApp_Submit() {
	ctx := context.Background()
	app := open(ensue.Options{})
	id, err := app.Submit(ctx, WriteLetter{"Ada", "Hello!"})
	if err != nil {
		panic(err)
	}
	before, err := app.Status(ctx, id)
	fmt.Println(before.Status, err)

	defer running(app)()
	if err := app.WaitIdle(ctx); err != nil {
		panic(err)
	}
	after, err := app.Status(ctx, id)
	fmt.Println(after.Status, string(after.Result), err)
	// Output:
	// queued <nil>
	// accepted 1 <nil>
}

// Record appends facts. Under the same ids it can be repeated, as an import is after a crash.
func ExampleOpenModule_Record() {
	app := open(ensue.Options{})
	defer app.Close()
	lent := event.New(BookLent{"1", "Ada", "Faust"}).WithID(event.DeriveID("line", "17")).At(time.Date(1999, time.March, 1, 10, 0, 0, 0, time.UTC))
	for range 2 {
		done, err := app.Module("library").Record(context.Background(), "loan/1", lent)
		if err != nil {
			panic(err)
		}
		fmt.Println(done.Results[0].Position, done.Repeat)
	}
	// Output:
	// 1 false
	// 1 true
}

// By the replay clock, a recorded past runs at the times at which it happened, as fast as it can. Run ends when all
// logs that are not written by the run itself are sealed and read, and nothing is due. The library's log needs no seal:
// it is the home of the process, which the run writes.
func ExampleOptions_replay() {
	ctx := context.Background()
	app := open(ensue.Options{Replay: true})
	defer app.Close()
	at := func(day time.Month, of int) time.Time { return time.Date(1999, day, of, 10, 0, 0, 0, time.UTC) }
	_, err := app.Module("library").Record(ctx, "loans",
		event.New(BookLent{"1", "Ada", "Faust"}).At(at(time.March, 1)),
		event.New(BookLent{"2", "Bob", "Emma"}).At(at(time.March, 2)),
		event.New(BookReturned{"2"}).At(at(time.March, 9)),
	)
	if err != nil {
		panic(err)
	}
	if err := app.Run(ctx); err != nil {
		panic(err)
	}
	printLetters(app, func(rec event.Recorded, l LetterWritten) string {
		return rec.Occurred.Format(time.DateOnly) + " " + l.Text
	})
	// Unordered output:
	// 1999-03-01 Enjoy Faust!
	// 1999-03-02 Enjoy Emma!
	// 1999-03-29 We miss Faust.
}

// A log that was imported is sealed when it is complete. Until then the replay clock waits at its end.
func ExampleOpenModule_Seal() {
	ctx := context.Background()
	m := library()
	m.Processes = nil
	reminders := ensue.Module{Name: "reminders", Processes: []process.Definition{lending}} // the home is not the source
	app, err := ensue.Open(ctx, "memory:", m, letters(), reminders, ensue.Options{Replay: true})
	if err != nil {
		panic(err)
	}
	defer app.Close()
	if _, err := app.Module("library").Record(ctx, "loans", event.New(BookLent{"1", "Ada", "Faust"}).At(time.Date(1999, time.March, 1, 10, 0, 0, 0, time.UTC))); err != nil {
		panic(err)
	}
	if err := app.Module("library").Seal(ctx); err != nil { // nothing else will come
		panic(err)
	}
	if err := app.Run(ctx); err != nil {
		panic(err)
	}
	printLetters(app, func(rec event.Recorded, l LetterWritten) string {
		return rec.Occurred.Format(time.DateOnly) + " " + l.Text
	})
	// Output:
	// 1999-03-01 Enjoy Faust!
	// 1999-03-29 We miss Faust.
}

// A carried header goes from the input to the command and to the events that it causes. Others stay behind.
func ExampleOptions_carried() {
	ctx := context.Background()
	app := open(ensue.Options{Carried: []string{"branch"}})
	defer running(app)()
	lent := event.New(BookLent{"1", "Ada", "Faust"}).WithHeader("branch", "harbour").WithHeader("clerk", "Cem")
	if _, err := app.Module("library").Record(ctx, "loan/1", lent); err != nil {
		panic(err)
	}
	if err := app.WaitIdle(ctx); err != nil {
		panic(err)
	}
	printLetters(app, func(rec event.Recorded, _ LetterWritten) string { return fmt.Sprint(rec.Metadata.Headers) })
	// Output:
	// map[branch:harbour]
}

// Each process keeps its instances in a store of its own: here as documents, without their histories.
func ExampleProcessOptions() {
	ctx := context.Background()
	app := open(ensue.Options{Processes: map[string]ensue.ProcessOptions{"lending": {Store: process.Documents{}}}})
	defer running(app)()
	if _, err := app.Module("library").Record(ctx, "loan/1", BookLent{"1", "Ada", "Faust"}); err != nil {
		panic(err)
	}
	if err := app.WaitIdle(ctx); err != nil {
		panic(err)
	}
	instance, err := process.Look(ctx, app.Process("lending").Home(), "1")
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s %s\n", instance.Status, instance.State)
	// Output:
	// running {"Reader":"Ada","Title":"Faust"}
}

// WaitIdle returns when everything that was recorded has led to what it leads to, which a timeout that is not due does
// not delay.
func ExampleApp_WaitIdle() {
	ctx := context.Background()
	app := open(ensue.Options{})
	defer running(app)()
	if _, err := app.Module("library").Record(ctx, "loans", BookLent{"1", "Ada", "Faust"}, BookLent{"2", "Bob", "Emma"}, BookReturned{"2"}); err != nil {
		panic(err)
	}
	if err := app.WaitIdle(ctx); err != nil {
		panic(err)
	}
	stats := app.Process("lending").Stats()
	fmt.Println(stats.Inputs, "inputs,", stats.Commands, "commands,", stats.Timeouts, "timeouts")
	// Output:
	// 3 inputs, 2 commands, 0 timeouts
}
