// Package plainjson writes and reads the JSON of records that are written and read all the time, at a fraction of what
// encoding/json takes, which finds out about a type by reflection and looks at each byte more than once.
//
// A Writer writes what json.Marshal would write, byte for byte. A Reader reads only what a Writer writes: objects
// whose members come in the order in which they are asked for, no spaces, and nothing that is not asked for. Whatever else
// JSON may be is not wrong, but not plain: the Reader says so, and the caller turns to json.Unmarshal.
//
//	var w plainjson.Writer
//	w.Begin()
//	w.String("type", s.Type)
//	w.Bytes("data", s.Data)
//	w.End()
//
//	r := plainjson.Reader{Data: data}
//	r.Begin()
//	if r.Member("type") {
//		s.Type = r.String()
//	}
//	if r.Member("data") {
//		s.Data = r.Bytes()
//	}
//	r.End()
//	if !r.Whole() {
//		return json.Unmarshal(data, &s)
//	}
package plainjson

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// Writer writes one JSON value. The zero value is ready; room for it may be given in Data.
type Writer struct {
	Data []byte
	err  error
}

// Result returns what was written. The error is that of a value which can't be JSON, if there was one.
func (w *Writer) Result() ([]byte, error) { return w.Data, w.err }

// Begin begins an object. Its members follow, each by its name.
func (w *Writer) Begin() { w.Data = append(w.Data, '{') }

// End ends an object.
func (w *Writer) End() { w.Data = append(w.Data, '}') }

// BeginList begins a list. Element precedes each of its elements.
func (w *Writer) BeginList() { w.Data = append(w.Data, '[') }

// EndList ends a list.
func (w *Writer) EndList() { w.Data = append(w.Data, ']') }

// Element says that an element of a list follows.
func (w *Writer) Element() {
	if w.Data[len(w.Data)-1] != '[' {
		w.Data = append(w.Data, ',')
	}
}

// Name begins a member, whose value follows. The name is plain text without characters that JSON escapes.
func (w *Writer) Name(name string) {
	if w.Data[len(w.Data)-1] != '{' {
		w.Data = append(w.Data, ',')
	}
	w.Data = append(w.Data, '"')
	w.Data = append(w.Data, name...)
	w.Data = append(w.Data, '"', ':')
}

// String writes a member.
func (w *Writer) String(name, value string) {
	w.Name(name)
	w.StringValue(value)
}

// StringValue writes a string.
func (w *Writer) StringValue(value string) {
	for i := range len(value) {
		if !verbatim[value[i]] {
			w.other(value)
			return
		}
	}
	w.Data = append(w.Data, '"')
	w.Data = append(w.Data, value...)
	w.Data = append(w.Data, '"')
}

// verbatim has the bytes that json.Marshal writes as they are, wherever they stand.
var verbatim = func() (plain [256]bool) {
	for c := byte(' '); c < 0x7f; c++ {
		plain[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return plain
}()

// Int writes a member.
func (w *Writer) Int(name string, value int64) {
	w.Name(name)
	w.Data = strconv.AppendInt(w.Data, value, 10)
}

// Uint writes a member.
func (w *Writer) Uint(name string, value uint64) {
	w.Name(name)
	w.Data = strconv.AppendUint(w.Data, value, 10)
}

// True writes a member, if it is true.
func (w *Writer) True(name string, value bool) {
	if value {
		w.Name(name)
		w.Data = append(w.Data, "true"...)
	}
}

// Bytes writes a member.
func (w *Writer) Bytes(name string, value []byte) {
	w.Name(name)
	if value == nil {
		w.Data = append(w.Data, "null"...)
		return
	}
	w.Data = append(w.Data, '"')
	w.Data = base64.StdEncoding.AppendEncode(w.Data, value)
	w.Data = append(w.Data, '"')
}

// Text writes a member: an instant, an id, or another value whose text has no characters that JSON escapes.
func (w *Writer) Text(name string, value encoding.TextAppender) {
	w.Name(name)
	w.Data = append(w.Data, '"')
	data, err := value.AppendText(w.Data)
	if err != nil {
		w.fail(err)
	} else {
		w.Data = data
	}
	w.Data = append(w.Data, '"')
}

// Strings writes a member: an object of strings.
func (w *Writer) Strings(name string, values map[string]string) {
	w.Name(name)
	w.Begin()
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if w.Data[len(w.Data)-1] != '{' {
			w.Data = append(w.Data, ',')
		}
		w.StringValue(key)
		w.Data = append(w.Data, ':')
		w.StringValue(values[key])
	}
	w.End()
}

// Value writes a member as json.Marshal writes it.
func (w *Writer) Value(name string, value any) {
	w.Name(name)
	w.other(value)
}

func (w *Writer) other(value any) {
	data, err := json.Marshal(value)
	if err != nil {
		w.fail(err)
	}
	w.Data = append(w.Data, data...)
}

func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}
