package plainjson

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"math"
	"unicode/utf8"
)

// Reader reads one JSON value of the form that a Writer gives it. Once it met something else it reads nothing any more:
// what it returned until then must be forgotten.
type Reader struct {
	Data  []byte
	at    int
	other bool // it is not plain
}

// Whole tells whether everything was read, and nothing but what was expected.
func (r *Reader) Whole() bool { return !r.other && r.at == len(r.Data) }

// next returns the next byte, 0 where there is none.
func (r *Reader) next() byte {
	if r.at < len(r.Data) {
		return r.Data[r.at]
	}
	return 0
}

func (r *Reader) expect(c byte) bool {
	if r.other || r.next() != c {
		r.other = true
		return false
	}
	r.at++
	return true
}

// skip goes over a word, if it is next.
func (r *Reader) skip(word string) bool {
	if rest := r.Data[r.at:]; r.other || len(rest) < len(word) || string(rest[:len(word)]) != word {
		return false
	}
	r.at += len(word)
	return true
}

// Begin begins an object.
func (r *Reader) Begin() { r.expect('{') }

// End ends an object, all of whose members were asked for.
func (r *Reader) End() { r.expect('}') }

// Member goes over a member's name, if it is the next one, and says so: its value follows.
func (r *Reader) Member(name string) bool {
	if r.other {
		return false
	}
	rest := r.Data[r.at:]
	n := 0
	if r.Data[r.at-1] != '{' { // not the first one
		if len(rest) == 0 || rest[0] != ',' {
			return false
		}
		n = 1
	}
	rest = rest[n:]
	if len(rest) < len(name)+3 || rest[0] != '"' || string(rest[1:len(name)+1]) != name || rest[len(name)+1] != '"' || rest[len(name)+2] != ':' {
		return false
	}
	r.at += n + len(name) + 3
	return true
}

// BeginList begins a list, which has an element.
func (r *Reader) BeginList() {
	if r.expect('[') && r.next() == ']' {
		r.other = true // json.Marshal leaves it out, or it is null
	}
}

// Element tells whether a list has another element, which follows; else it ends the list.
func (r *Reader) Element() bool {
	switch {
	case r.other:
		return false
	case r.Data[r.at-1] == '[':
		return true
	case r.next() == ']':
		r.at++
		return false
	default:
		return r.expect(',')
	}
}

// quoted returns what stands between quotes, if nothing in it is escaped.
func (r *Reader) quoted() []byte {
	if !r.expect('"') {
		return nil
	}
	rest := r.Data[r.at:]
	for i, c := range rest {
		if verbatim[c] {
			continue
		}
		if c == '"' {
			r.at += i + 1
			return rest[:i]
		}
		if c == '\\' || c < ' ' {
			break
		}
	}
	r.other = true
	return nil
}

// String reads a string. One with escapes takes longer.
func (r *Reader) String() string {
	if r.other || r.next() != '"' {
		r.other = true
		return ""
	}
	begun := r.at
	text := r.quoted()
	if !r.other && utf8.Valid(text) {
		return string(text)
	}
	r.other, r.at = false, begun
	var s string
	r.Value(&s)
	return s
}

// Int reads a whole number.
func (r *Reader) Int() int {
	negative := r.skip("-")
	n := r.Uint()
	if n > math.MaxInt {
		r.other = true
		return 0
	}
	if negative {
		return -int(n) // #nosec G115 -- up to MaxInt
	}
	return int(n) // #nosec G115 -- up to MaxInt
}

// Uint reads a whole number that is not negative.
func (r *Reader) Uint() (n uint64) {
	begun := r.at
	for ; ; r.at++ {
		c := uint64(r.next() - '0')
		if c > 9 {
			break
		}
		if n > (math.MaxUint64-c)/10 {
			r.other = true
		}
		n = 10*n + c
	}
	if digits := r.at - begun; digits == 0 || digits > 1 && r.Data[begun] == '0' {
		r.other = true
	}
	return n
}

// Uint8 reads a whole number up to 255.
func (r *Reader) Uint8() uint8 {
	n := r.Uint()
	if n > math.MaxUint8 {
		r.other = true
	}
	return uint8(n) // #nosec G115 -- or nothing was read
}

// True reads what Writer.True wrote.
func (r *Reader) True() bool {
	if !r.skip("true") {
		r.other = true
	}
	return !r.other
}

// Bytes reads bytes.
func (r *Reader) Bytes() []byte {
	if r.skip("null") {
		return nil
	}
	text := r.quoted()
	data := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(data, text)
	if err != nil {
		r.other = true
	}
	return data[:n]
}

// Text reads what Writer.Text wrote.
func (r *Reader) Text(into encoding.TextUnmarshaler) {
	if text := r.quoted(); !r.other && into.UnmarshalText(text) != nil {
		r.other = true
	}
}

// Strings reads an object of strings.
func (r *Reader) Strings() map[string]string {
	values := map[string]string{}
	for r.Begin(); !r.other && r.next() != '}'; {
		if len(values) > 0 {
			r.expect(',')
		}
		key := r.String()
		r.expect(':')
		if _, twice := values[key]; twice {
			r.other = true
		}
		values[key] = r.String()
	}
	r.End()
	return values
}

// Value reads what Writer.Value wrote, as json.Unmarshal reads it.
func (r *Reader) Value(into any) {
	if r.other {
		return
	}
	d := json.NewDecoder(bytes.NewReader(r.Data[r.at:]))
	if c := r.next(); c <= ' ' || d.Decode(into) != nil {
		r.other = true
		return
	}
	r.at += int(d.InputOffset())
}
