package command

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
)

// object writes a JSON object member by member. It exists because payloads and results must come back byte for byte,
// which json.Marshal does not promise of a json.RawMessage, and because every command writes a receipt.
type object []byte

func (o *object) key(name string) {
	if len(*o) == 0 {
		*o = append(*o, '{')
	} else {
		*o = append(*o, ',')
	}
	*o = append(*o, '"')
	*o = append(*o, name...)
	*o = append(*o, '"', ':')
}

func (o *object) text(name, value string) {
	o.key(name)
	for i := range len(value) {
		if c := value[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			quoted, err := json.Marshal(value)
			if err != nil {
				panic(err) // a string
			}
			*o = append(*o, quoted...)
			return
		}
	}
	*o = append(*o, '"')
	*o = append(*o, value...)
	*o = append(*o, '"')
}

func (o *object) number(name string, value int64) {
	o.key(name)
	*o = strconv.AppendInt(*o, value, 10)
}

// value writes what json.Marshal makes of a value that it cannot fail on.
func (o *object) value(name string, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings and ids
	}
	o.key(name)
	*o = append(*o, data...)
}

// data writes bytes as they are where they are one JSON value, and otherwise as base64 under name + "64".
func (o *object) data(name string, value []byte) {
	if len(value) > 0 && value[0] > ' ' && value[len(value)-1] > ' ' && json.Valid(value) {
		o.key(name)
		*o = append(*o, value...)
		return
	}
	o.key(name + "64")
	*o = append(*o, '"')
	*o = base64.StdEncoding.AppendEncode(*o, value)
	*o = append(*o, '"')
}

func (o *object) end() []byte { return append(*o, '}') }

// either returns what data wrote, out of its two members.
func either(raw json.RawMessage, encoded []byte) []byte {
	if raw != nil {
		return raw
	}
	return encoded
}
