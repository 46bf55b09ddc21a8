package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// Codec turns Go values into bytes and back. It must be safe for concurrent use.
type Codec interface {
	// Encode returns the bytes of v, a value of the registered Go type.
	Encode(v any) ([]byte, error)
	// Decode fills the value that v points to.
	Decode(data []byte, v any) error
}

// JSON is the default codec: encoding/json, in which a field that the Go type does not know is dropped on reading and
// a member that the data does not have leaves the zero value.
type JSON struct{}

// Encode implements Codec.
func (JSON) Encode(v any) ([]byte, error) { return json.Marshal(v) }

// Decode implements Codec. Data after the first JSON value is an error.
func (JSON) Decode(data []byte, v any) error { return json.Unmarshal(data, v) }

// StrictJSON is JSON that refuses members that the Go type does not have.
type StrictJSON struct{}

// Encode implements Codec.
func (StrictJSON) Encode(v any) ([]byte, error) { return json.Marshal(v) }

// Decode implements Codec.
func (StrictJSON) Decode(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("event: more data follows the JSON value")
	}
	return nil
}
