package processtest

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/ensue-io/ensue/event"
	"github.com/ensue-io/ensue/process"
)

// Want is something that a process should have decided, other than a command as it is.
type Want struct{ wants []want }

// mark is a Want without a value.
type mark string

// What is wanted of an instance: that it ended; that it was given up, and undoes what it did. An instance that has nothing
// to undo does both at once.
const (
	Completed    mark = "completed"
	Compensating mark = "compensating"
)

// class is what is compared with each other.
type class string

const (
	sent         class = "send"
	emitted      class = "emit"
	timeout      class = "timeout"
	cancelled    class = "cancel"
	completed    class = "completed"
	compensating class = "compensating"
	claimed      class = "claim"
	released     class = "release"
	state        class = "state"
	failure      class = "fails"
)

// inOrder tells whether there is an order among decisions of a class.
func (c class) inOrder() bool { return c == sent || c == emitted }

// got is something that was decided.
type got struct {
	class    class
	instance string
	value    any
	module   string            // of a command: as SendTo named it
	headers  map[string]string // of a command or event
	due      time.Time         // of a timeout
	after    time.Duration     // of a timeout: from the instant of the input that set it
}

// want is a got with conditions.
type want struct {
	got
	anyAfter bool // a timeout is wanted by its due time
}

// Emitted is wanted of an event that the process emitted.
func Emitted(fact any) Want { return wanted(emitted, fact) }

// Timeout is wanted of a timeout that was set and is pending, by how long after the input that set it it is due: what
// Step.After was given.
func Timeout(after time.Duration, value any) Want {
	w := wanted(timeout, value)
	w.wants[0].after = after
	return w
}

// TimeoutAt is Timeout by its due time.
func TimeoutAt(due time.Time, value any) Want {
	w := wanted(timeout, value)
	w.wants[0].due, w.wants[0].anyAfter = event.Micro(due), true
	return w
}

// Cancelled is wanted of a timeout that was pending before When and has been cancelled by Step.Cancel. What completion
// cancels, or a newer timeout replaces, is not wanted.
func Cancelled(value any) Want { return wanted(cancelled, value) }

// Claimed is wanted of a key that an instance claimed by Step.Correlate.
func Claimed(name, key string) Want {
	return wanted(claimed, process.ClaimedKey{Name: name, Key: key})
}

// Released is wanted of a claim that Step.Release ended. What completion releases is not wanted.
func Released(name, key string) Want {
	return wanted(released, process.ClaimedKey{Name: name, Key: key})
}

// State is wanted of the state that the instance has now. It is looked at only when it is wanted.
func State(value any) Want { return wanted(state, value) }

// Fails is wanted of a step that failed with an error that contains the text.
func Fails(text string) Want { return wanted(failure, text) }

// To is wanted of a command that was sent to a module by Step.SendTo.
func To(module string, cmd any) Want {
	w := wanted(sent, cmd)
	w.wants[0].module = module
	return w
}

// For is wanted of one instance among several. Without it, any instance may have decided what is wanted.
func For(instance string, wants ...any) Want {
	var all Want
	for _, it := range wants {
		more, err := wantsOf(it)
		if err != nil {
			more = []want{{got: got{class: "", value: err}}}
		}
		for _, w := range more {
			w.instance = instance
			all.wants = append(all.wants, w)
		}
	}
	return all
}

func wanted(c class, value any) Want {
	w := want{got: got{class: c, value: value}}
	if draft, ok := value.(event.Draft); ok {
		w.value, w.headers = draft.Fact, draft.Headers
	}
	return Want{[]want{w}}
}

func wantsOf(it any) ([]want, error) {
	switch it := it.(type) {
	case Want:
		for _, w := range it.wants {
			if err, bad := w.value.(error); bad && w.class == "" {
				return nil, err
			}
		}
		return it.wants, nil
	case mark:
		return []want{{got: got{class: class(it)}}}, nil
	case Item:
		return nil, fmt.Errorf("Then is given %s, which is no decision but something that happens; give it to When", it)
	case process.Effect:
		return nil, fmt.Errorf("Then is given a process.Effect; give it the command, or what Emitted, Timeout, Cancelled or Completed return")
	case nil:
		return nil, fmt.Errorf("Then is given nil; to want nothing, give it nothing")
	default:
		return wanted(sent, it).wants, nil
	}
}

// matches tells whether what was decided is what is wanted.
func (w *want) matches(g *got) bool {
	if w.class != g.class || w.instance != "" && w.instance != g.instance {
		return false
	}
	for name, value := range w.headers {
		if g.headers[name] != value {
			return false
		}
	}
	switch w.class {
	case failure:
		return strings.Contains(g.value.(string), w.value.(string))
	case timeout:
		if w.anyAfter && !w.due.Equal(g.due) || !w.anyAfter && w.after != g.after {
			return false
		}
	case sent:
		if w.module != "" && w.module != g.module {
			return false
		}
	}
	return equal(reflect.ValueOf(w.value), reflect.ValueOf(g.value))
}

func (g *got) text(show func(any) string, withInstance bool) string {
	text := g.head(show)
	if g.class == timeout {
		text += " after " + short(g.after) + ", at " + g.due.Format(time.RFC3339Nano)
	}
	if withInstance && g.instance != "" {
		text = fmt.Sprintf("%q: %s", g.instance, text)
	}
	return text
}

func (w *want) text(show func(any) string) string {
	text := w.head(show)
	switch {
	case w.class == timeout && w.anyAfter:
		text += " at " + w.due.Format(time.RFC3339Nano)
	case w.class == timeout:
		text += " after " + short(w.after)
	}
	if len(w.headers) > 0 {
		text += fmt.Sprintf(" with headers %q", w.headers)
	}
	if w.instance != "" {
		text = fmt.Sprintf("%q: %s", w.instance, text)
	}
	return text
}

func (g *got) head(show func(any) string) string {
	text := string(g.class)
	if said, ok := g.value.(string); ok && g.class == failure {
		text += " " + said
	} else if g.value != nil {
		text += " " + show(g.value)
	}
	if g.module != "" {
		text += " to " + g.module
	}
	return text
}

// short shows a duration without the zeros at its end.
func short(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// equal is reflect.DeepEqual, but for instants, which are compared as such, and for empty slices and maps, which equal
// nil: both as after a store.
func equal(a, b reflect.Value) bool {
	if !a.IsValid() || !b.IsValid() {
		return a.IsValid() == b.IsValid()
	}
	if a.Type() != b.Type() {
		return false
	}
	switch a.Kind() {
	case reflect.Struct:
		if at, ok := a.Interface().(time.Time); ok {
			return at.Equal(b.Interface().(time.Time))
		}
		for k := range a.NumField() {
			if !a.Type().Field(k).IsExported() {
				return reflect.DeepEqual(a.Interface(), b.Interface())
			}
		}
		for k := range a.NumField() {
			if !equal(a.Field(k), b.Field(k)) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return false
		}
		for k := range a.Len() {
			if !equal(a.Index(k), b.Index(k)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for _, key := range a.MapKeys() {
			if v := b.MapIndex(key); !v.IsValid() || !equal(a.MapIndex(key), v) {
				return false
			}
		}
		return true
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return equal(a.Elem(), b.Elem())
	default:
		return reflect.DeepEqual(a.Interface(), b.Interface())
	}
}
